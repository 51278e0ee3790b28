"""Reading `multipart/form-data` (RFC 7578 on RFC 2046) while it arrives: bytes in, events out, no I/O.

It judges the form of the body and nothing else: which fields there must be, and how large a file may be, is for the
caller. Where two readers could see different parts in the same bytes, the body is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from filestead.api.http.part_filenames import part_filename, percent_decoded

MAX_CONTENT_TYPE = 1024
MAX_PADDING = 16
NOT_UTF8 = "A part header is not valid UTF-8."

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Clients send more than tokens without quotes ("expires_after[anchor]"), so only what would be ambiguous is left out.
# Tabs between parameters are legal, but some readers lose the parameter behind one.
_PARAMETER = re.compile(rf'; *(?:({_NAME})=(?:"((?:[^"\\]|\\.)*)"|([^\x00-\x20\x7f;"]+)))? *')
_HEADER = re.compile(rf"({_NAME}):([^\x00-\x08\x0a-\x1f\x7f]*)")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_LINE_END = re.compile(rb"--|[ \t]{0,%d}\r\n" % MAX_PADDING)
_LINE_END_BEGUN = re.compile(rb"-?|[ \t]{0,%d}\r?" % MAX_PADDING)


class MultipartError(Exception):
    """The body, or the header that announces it, is malformed; `reason` is one sentence for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MultipartLimitError(MultipartError):
    """One of `MultipartLimits` was passed."""


class NotMultipart(MultipartError):
    """The request's media type is another one."""


@dataclass(frozen=True, slots=True)
class MultipartLimits:
    """What one body may hold. Only the content of a part with a filename is without limit here."""

    parts: int = 16
    field_bytes: int = 16 * 1024
    fields_bytes: int = 64 * 1024
    part_headers: int = 16
    part_head_bytes: int = 8 * 1024
    preamble_bytes: int = 1024
    epilogue_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class PartHead:
    """A part begins. `filename` is None for a plain field; it is as the client sent it, with path and all."""

    name: str
    filename: str | None


class PartEnd(Enum):
    """A part is complete."""

    PART_END = auto()


PART_END: Final = PartEnd.PART_END
Event: TypeAlias = PartHead | bytes | PartEnd


def boundary_of(content_type: str) -> bytes:
    """The boundary that a request's `Content-Type` announces.

    Raises `NotMultipart` for another media type and `MultipartError` for a header that cannot be read with certainty.
    """
    if len(content_type) > MAX_CONTENT_TYPE:
        raise MultipartError("The Content-Type header is too long.")
    if content_type.partition(";")[0].rstrip(" ").lower() != "multipart/form-data":
        raise NotMultipart("The Content-Type is not multipart/form-data.")
    boundary = _parameters(content_type, "Content-Type").get("boundary")
    if boundary is None:
        raise MultipartError("The Content-Type header has no boundary.")
    if not _BOUNDARY.fullmatch(boundary):
        raise MultipartError("The boundary is not 1 to 70 characters that RFC 2046 allows.")
    return boundary.encode("ascii")


class MultipartReader:
    """A push reader: `feed` it each chunk as it arrives, then `close` it. `finished` tells that the form was closed.

    Content is handed on as slices of the given chunks. What is held between chunks is at most one part head, because
    the start of a delimiter is held as the number of bytes that have matched so far.
    """

    def __init__(self, boundary: bytes, limits: MultipartLimits = MultipartLimits()) -> None:
        self.finished = False
        self._limits = limits
        self._delimiter = b"\r\n--" + boundary
        self._state: Callable[[bytes, int], int] = self._content
        self._events: list[Event] = []
        self._refused = False
        self._part: PartHead | None = None
        self._held = bytearray()
        # A body, and the content of a part, starts as if behind a line end: a delimiter there is seen without its own.
        self._matched = self._assumed = 2
        self._parts = self._field = self._fields = self._epilogue = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes, in order. Raises `MultipartError`, and then for every further chunk."""
        self._check_refused()
        self._refused = True  # until this chunk is through
        at = 0
        while at < len(chunk):
            at = self._state(chunk, at)
        self._refused = False
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """The input has ended. Raises `MultipartError` if the form has not: half a body must not pass for a whole."""
        self._check_refused()
        if not self.finished:
            raise MultipartError("The body ends before the closing delimiter.")

    def _check_refused(self) -> None:
        if self._refused:
            raise MultipartError("The body was refused before its end.")

    # Each state reads from `at`, returns where it stopped, and sets the state that goes on there.

    def _content(self, chunk: bytes, at: int) -> int:
        """Content (or preamble) up to and including the next delimiter."""
        delimiter = self._delimiter
        if self._matched:
            rest = chunk[at : at + len(delimiter) - self._matched]
            if delimiter.startswith(rest, self._matched):
                self._matched += len(rest)
                if self._matched == len(delimiter):
                    self._end_content()
                return at + len(rest)
            # CR stands only at the front of a delimiter, so no other one can have begun within the matched bytes.
            self._take(delimiter[self._assumed : self._matched])
            self._matched = self._assumed = 0
        found = chunk.find(delimiter, at)
        if found >= 0:
            self._take(chunk[at:found])
            self._end_content()
            return found + len(delimiter)
        begun = chunk.rfind(b"\r", max(at, len(chunk) - len(delimiter) + 1))
        if begun < 0 or not delimiter.startswith(chunk[begun:]):
            begun = len(chunk)
        self._matched = len(chunk) - begun
        self._take(chunk[at:begun])
        return len(chunk)

    def _take(self, data: bytes) -> None:
        if not data:
            return
        if self._part is None:
            self._held += data[: self._limits.preamble_bytes + 1]
            if len(self._held) > self._limits.preamble_bytes:
                raise MultipartLimitError("There is too much data before the first part.")
            return
        if self._part.filename is None:
            self._field += len(data)
            self._fields += len(data)
            if self._field > self._limits.field_bytes or self._fields > self._limits.fields_bytes:
                raise MultipartLimitError("A form field without a filename is too large.")
        self._events.append(data)

    def _end_content(self) -> None:
        if self._part is None:
            # Some readers begin the first part at a delimiter in the middle of a line.
            if self._delimiter[2:] in self._held:
                raise MultipartError("The data before the first part holds a delimiter.")
        elif self._assumed:
            # RFC 2046 ends a part without content here, most readers see content.
            raise MultipartError("A delimiter follows a part head without a line end of its own.")
        else:
            self._events.append(PART_END)
        self._matched = self._assumed = 0
        self._held.clear()
        self._state = self._delimiter_line

    def _delimiter_line(self, chunk: bytes, at: int) -> int:
        """The rest of a delimiter's line: "--" if it closes the form, else nothing but a little padding."""
        held = self._held
        before = len(held)
        held += chunk[at : at + MAX_PADDING + 2]
        end = _LINE_END.match(held)
        if end is None:
            if _LINE_END_BEGUN.fullmatch(held):
                return len(chunk)
            raise MultipartError("A delimiter is followed by other bytes on its line.")
        at += end.end() - before
        if end[0] == b"--":
            self.finished = True
            self._state = self._after_close
            return at
        self._parts += 1
        if self._parts > self._limits.parts:
            raise MultipartLimitError("The form has too many parts.")
        held[:] = b"\r\n"
        self._state = self._head
        return at

    def _head(self, chunk: bytes, at: int) -> int:
        """A part's head, up to and including its empty line. It is held behind the line end of its delimiter."""
        held, limit = self._held, self._limits.part_head_bytes
        before = len(held)
        held += chunk[at : at + limit + 3 - before]
        end = held.find(b"\r\n\r\n", max(0, before - 3))
        size = (end + 4 if end >= 0 else len(held)) - 2
        if size > limit:
            raise MultipartLimitError("A part head is too large.")
        if end < 0:
            return len(chunk)
        if held.find(self._delimiter, 0, end) >= 0:  # a boundary may hold a colon, and then passes for a header
            raise MultipartError("A delimiter stands within a part head.")
        self._part = _part_head(bytes(held[2:end]), self._limits.part_headers)
        self._events.append(self._part)
        self._field = 0
        self._matched = self._assumed = 2
        self._state = self._content
        return at + end + 4 - before

    def _after_close(self, chunk: bytes, at: int) -> int:
        self._epilogue += len(chunk) - at
        if self._epilogue > self._limits.epilogue_bytes:
            raise MultipartLimitError("There is too much data after the closing delimiter.")
        return len(chunk)


def _part_head(raw: bytes, max_headers: int) -> PartHead:
    lines = raw.split(b"\r\n") if raw else []
    if len(lines) > max_headers:
        raise MultipartLimitError("A part has too many headers.")
    disposition: str | None = None
    nested = False
    for name, value in map(_header, lines):
        if name == "content-disposition":
            if disposition is not None:
                raise MultipartError("A part has two Content-Disposition headers.")
            disposition = value
        elif not _is_text(value):
            raise MultipartError(NOT_UTF8)
        elif name == "content-transfer-encoding" and value.lower() not in ("7bit", "8bit", "binary"):
            raise MultipartError("A part has a Content-Transfer-Encoding that changes its bytes.")
        elif name == "content-type":
            nested = nested or value.lower().startswith("multipart/")
        # Every other header is ignored, a part's Content-Length too: only the delimiter ends a part.
    if disposition is None:
        raise MultipartError("A part has no Content-Disposition header.")
    head = _disposition(disposition)
    if nested and head.filename is None:  # of a file, the type is a label; of a field, it would be a form within
        raise MultipartError("A field is itself multipart.")
    return head


def _header(line: bytes) -> tuple[str, str]:
    """The name in lower case and the value, in which bytes that are no UTF-8 are surrogates."""
    header = _HEADER.fullmatch(line.decode(errors="surrogateescape"))
    if header is None:
        raise MultipartError("A part header is malformed.")
    return header[1].lower(), header[2].strip(" \t")


def _disposition(value: str) -> PartHead:
    if value.partition(";")[0].rstrip(" ").lower() != "form-data":
        raise MultipartError("A part's Content-Disposition is not form-data.")
    parameters = _parameters(value, "Content-Disposition")
    if any("*" in name and name != "filename*" for name in parameters):
        raise MultipartError("A part's Content-Disposition has an extended parameter other than filename*.")
    if "name" not in parameters:
        raise MultipartError("A part has no name.")
    try:
        filename = part_filename(parameters.get("filename"), parameters.get("filename*"))
    except ValueError:
        raise MultipartError("A part's filename* cannot be read.") from None
    head = PartHead(percent_decoded(parameters["name"]), filename)
    # Only a `filename` beside a readable `filename*` may be broken: it was not needed.
    if not all(map(_is_text, (head.name, head.filename or ""))):
        raise MultipartError(NOT_UTF8)
    return head


def _is_text(value: str) -> bool:
    """Whether all of it was UTF-8, so that no byte had to be escaped."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _parameters(value: str, header: str) -> dict[str, str]:
    r"""The parameters behind the first `;`, names in lower case, values without their quotes.

    Within quotes `\"` and `\\` are escapes (Go, httpx); a backslash before anything else is itself (browsers).
    """
    parameters: dict[str, str] = {}
    at = value.find(";")
    while 0 <= at < len(value):
        found = _PARAMETER.match(value, at)
        if found is None:
            raise MultipartError(f"The {header} header is malformed.")
        at = found.end()
        if found[1] is None:  # RFC 9110 allows an empty parameter, as behind a last ";"
            continue
        name = found[1].lower()
        if name in parameters:
            raise MultipartError(f"The {header} header has a parameter twice.")
        quoted = found[2]
        parameters[name] = found[3] if quoted is None else re.sub(r'\\(["\\])', r"\1", quoted)
    return parameters
