"""An incremental parser of `multipart/form-data` (RFC 7578 on RFC 2046): bytes in, events out, no I/O.

It checks syntax only; the caller checks the fields and the file's size. A body that two parsers could split into
different parts is rejected.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from filestead.api.http.part_filenames import decode_part_filename, percent_decode

MAX_CONTENT_TYPE = 1024
MAX_PADDING = 16
NOT_UTF8 = "A part header is not valid UTF-8."

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Clients send more than tokens unquoted ("expires_after[anchor]"), so only ambiguous characters are excluded.
# Tabs between parameters are legal, but some parsers lose the parameter after one.
_PARAMETER = re.compile(rf'; *(?:({_NAME})=(?:"((?:[^"\\]|\\.)*)"|([^\x00-\x20\x7f;"]+)))? *')
_HEADER = re.compile(rf"({_NAME}):([^\x00-\x08\x0a-\x1f\x7f]*)")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_LINE_END = re.compile(rb"--|[ \t]{0,%d}\r\n" % MAX_PADDING)
_PARTIAL_LINE_END = re.compile(rb"-?|[ \t]{0,%d}\r?" % MAX_PADDING)


class MultipartError(Exception):
    """The body or its Content-Type is malformed; `reason` is one sentence for the user."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MultipartLimitError(MultipartError):
    """One of `MultipartLimits` was exceeded."""


class NotMultipart(MultipartError):
    """The request has a different media type."""


@dataclass(frozen=True, slots=True)
class MultipartLimits:
    """Limits of one body. The content of a part with a filename is not limited here."""

    parts: int = 16
    field_bytes: int = 16 * 1024
    fields_bytes: int = 64 * 1024
    headers_per_part: int = 16
    part_headers_bytes: int = 8 * 1024
    preamble_bytes: int = 1024
    epilogue_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part starts. `filename` is None for a plain field; otherwise as sent, not sanitized."""

    name: str
    filename: str | None


class PartEnd(Enum):
    """A part is complete."""

    PART_END = auto()


PART_END: Final = PartEnd.PART_END
Event: TypeAlias = PartStart | bytes | PartEnd


def parse_boundary(content_type: str) -> bytes:
    """Parse the boundary in a request's `Content-Type`.

    Raises `NotMultipart` for a different media type and `MultipartError` for a malformed or ambiguous header.
    """
    if len(content_type) > MAX_CONTENT_TYPE:
        raise MultipartError("The Content-Type header is too long.")
    if content_type.partition(";")[0].rstrip(" ").lower() != "multipart/form-data":
        raise NotMultipart("The Content-Type is not multipart/form-data.")
    boundary = _parse_parameters(content_type, "Content-Type").get("boundary")
    if boundary is None:
        raise MultipartError("The Content-Type header has no boundary.")
    if not _BOUNDARY.fullmatch(boundary):
        raise MultipartError("The boundary is not 1 to 70 characters that RFC 2046 allows.")
    return boundary.encode("ascii")


class MultipartReader:
    """A push parser: call `feed` with each chunk, then `close`. `finished` is set by the closing delimiter.

    Content is returned as slices of the given chunks. At most the headers of one part are buffered between chunks; of a
    partial delimiter only the number of matched bytes is kept.
    """

    def __init__(self, boundary: bytes, limits: MultipartLimits = MultipartLimits()) -> None:
        self.finished = False
        self._limits = limits
        self._delimiter = b"\r\n--" + boundary
        self._state: Callable[[bytes, int], int] = self._read_content
        self._events: list[Event] = []
        self._failed = False
        self._part: PartStart | None = None
        self._buffer = bytearray()
        # The body and the content of each part start as if after a line end, so that a delimiter there is recognized.
        self._matched = self._implied = 2
        self._part_count = self._field_size = self._fields_size = self._epilogue_size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Parse a chunk and return its events in order. After a `MultipartError`, every further call raises one."""
        self._check_usable()
        self._failed = True  # until this chunk is parsed
        at = 0
        while at < len(chunk):
            at = self._state(chunk, at)
        self._failed = False
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """End the input. Raises `MultipartError` without a closing delimiter, so that no truncated body is accepted."""
        self._check_usable()
        if not self.finished:
            raise MultipartError("The body ends before the closing delimiter.")

    def _check_usable(self) -> None:
        if self._failed:
            raise MultipartError("The body was already rejected.")

    # Each state parses from `at`, returns the position where it stopped, and sets the state that continues there.

    def _read_content(self, chunk: bytes, at: int) -> int:
        """Parse content (or preamble) up to and including the next delimiter."""
        delimiter = self._delimiter
        if self._matched:
            rest = chunk[at : at + len(delimiter) - self._matched]
            if delimiter.startswith(rest, self._matched):
                self._matched += len(rest)
                if self._matched == len(delimiter):
                    self._end_content()
                return at + len(rest)
            # CR occurs only at the start of a delimiter, so no other one can start within the matched bytes.
            self._emit_content(delimiter[self._implied : self._matched])
            self._matched = self._implied = 0
        found = chunk.find(delimiter, at)
        if found >= 0:
            self._emit_content(chunk[at:found])
            self._end_content()
            return found + len(delimiter)
        partial = chunk.rfind(b"\r", max(at, len(chunk) - len(delimiter) + 1))
        if partial < 0 or not delimiter.startswith(chunk[partial:]):
            partial = len(chunk)
        self._matched = len(chunk) - partial
        self._emit_content(chunk[at:partial])
        return len(chunk)

    def _emit_content(self, data: bytes) -> None:
        if not data:
            return
        if self._part is None:
            self._buffer += data[: self._limits.preamble_bytes + 1]
            if len(self._buffer) > self._limits.preamble_bytes:
                raise MultipartLimitError("There is too much data before the first part.")
            return
        if self._part.filename is None:
            self._field_size += len(data)
            self._fields_size += len(data)
            if self._field_size > self._limits.field_bytes or self._fields_size > self._limits.fields_bytes:
                raise MultipartLimitError("A form field without a filename is too large.")
        self._events.append(data)

    def _end_content(self) -> None:
        if self._part is None:
            # Some parsers start the first part at a delimiter in the middle of a line.
            if self._delimiter[2:] in self._buffer:
                raise MultipartError("The data before the first part contains a delimiter.")
        elif self._implied:
            # By RFC 2046 this ends a part without content; most parsers take it for content.
            raise MultipartError("A delimiter directly follows part headers, without a line end before it.")
        else:
            self._events.append(PART_END)
        self._matched = self._implied = 0
        self._buffer.clear()
        self._state = self._read_delimiter_line

    def _read_delimiter_line(self, chunk: bytes, at: int) -> int:
        """Parse the rest of a delimiter's line: "--" if it closes the form, otherwise only padding."""
        buffer = self._buffer
        before = len(buffer)
        buffer += chunk[at : at + MAX_PADDING + 2]
        end = _LINE_END.match(buffer)
        if end is None:
            if _PARTIAL_LINE_END.fullmatch(buffer):
                return len(chunk)
            raise MultipartError("A delimiter is followed by other bytes on its line.")
        at += end.end() - before
        if end[0] == b"--":
            self.finished = True
            self._state = self._read_epilogue
            return at
        self._part_count += 1
        if self._part_count > self._limits.parts:
            raise MultipartLimitError("The form has too many parts.")
        buffer[:] = b"\r\n"
        self._state = self._read_part_headers
        return at

    def _read_part_headers(self, chunk: bytes, at: int) -> int:
        """Parse the headers of a part, up to its empty line. The buffer starts with the line end of the delimiter."""
        buffer, limit = self._buffer, self._limits.part_headers_bytes
        before = len(buffer)
        buffer += chunk[at : at + limit + 3 - before]
        end = buffer.find(b"\r\n\r\n", max(0, before - 3))
        size = (end + 4 if end >= 0 else len(buffer)) - 2
        if size > limit:
            raise MultipartLimitError("The headers of a part are too large.")
        if end < 0:
            return len(chunk)
        if buffer.find(self._delimiter, 0, end) >= 0:  # a boundary with a colon could pass for a header
            raise MultipartError("The headers of a part contain a delimiter.")
        self._part = _parse_part_headers(bytes(buffer[2:end]), self._limits.headers_per_part)
        self._events.append(self._part)
        self._field_size = 0
        self._matched = self._implied = 2
        self._state = self._read_content
        return at + end + 4 - before

    def _read_epilogue(self, chunk: bytes, at: int) -> int:
        self._epilogue_size += len(chunk) - at
        if self._epilogue_size > self._limits.epilogue_bytes:
            raise MultipartLimitError("There is too much data after the closing delimiter.")
        return len(chunk)


def _parse_part_headers(raw: bytes, max_headers: int) -> PartStart:
    lines = raw.split(b"\r\n") if raw else []
    if len(lines) > max_headers:
        raise MultipartLimitError("A part has too many headers.")
    disposition: str | None = None
    nested = False
    for name, value in map(_parse_header, lines):
        if name == "content-disposition":
            if disposition is not None:
                raise MultipartError("A part has two Content-Disposition headers.")
            disposition = value
        elif not _is_valid_utf8(value):
            raise MultipartError(NOT_UTF8)
        elif name == "content-transfer-encoding" and value.lower() not in ("7bit", "8bit", "binary"):
            raise MultipartError("A part has a Content-Transfer-Encoding that changes its bytes.")
        elif name == "content-type":
            nested = nested or value.lower().startswith("multipart/")
        # All other headers are ignored, Content-Length included: only a delimiter ends a part.
    if disposition is None:
        raise MultipartError("A part has no Content-Disposition header.")
    part = _parse_disposition(disposition)
    if nested and part.filename is None:  # the type of a file is only a label
        raise MultipartError("A field is itself multipart.")
    return part


def _parse_header(line: bytes) -> tuple[str, str]:
    """Split a header into its name in lower case and its value; bytes that are not UTF-8 become surrogates."""
    header = _HEADER.fullmatch(line.decode(errors="surrogateescape"))
    if header is None:
        raise MultipartError("A part header is malformed.")
    return header[1].lower(), header[2].strip(" \t")


def _parse_disposition(value: str) -> PartStart:
    if value.partition(";")[0].rstrip(" ").lower() != "form-data":
        raise MultipartError("A part's Content-Disposition is not form-data.")
    parameters = _parse_parameters(value, "Content-Disposition")
    if any("*" in name and name != "filename*" for name in parameters):
        raise MultipartError("A part's Content-Disposition has an extended parameter other than filename*.")
    if "name" not in parameters:
        raise MultipartError("A part has no name.")
    try:
        filename = decode_part_filename(parameters.get("filename"), parameters.get("filename*"))
    except ValueError:
        raise MultipartError("A part's filename* is invalid.") from None
    part = PartStart(percent_decode(parameters["name"]), filename)
    # `filename` may be invalid UTF-8 only beside a valid `filename*`, since it is then not used.
    if not all(map(_is_valid_utf8, (part.name, part.filename or ""))):
        raise MultipartError(NOT_UTF8)
    return part


def _is_valid_utf8(value: str) -> bool:
    """Whether the value was decoded without surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _parse_parameters(value: str, header: str) -> dict[str, str]:
    r"""Parse the parameters after the first `;`: names in lower case, values unquoted.

    Within quotes, `\"` and `\\` are escapes (Go, httpx); any other backslash is literal (browsers).
    """
    parameters: dict[str, str] = {}
    at = value.find(";")
    while 0 <= at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None:
            raise MultipartError(f"The {header} header is malformed.")
        at = match.end()
        if match[1] is None:  # RFC 9110 allows an empty parameter, as after a final ";"
            continue
        name = match[1].lower()
        if name in parameters:
            raise MultipartError(f"The {header} header has a parameter twice.")
        quoted = match[2]
        parameters[name] = match[3] if quoted is None else re.sub(r'\\(["\\])', r"\1", quoted)
    return parameters
