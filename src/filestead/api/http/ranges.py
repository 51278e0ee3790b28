"""Responses with the content of a file: ranges, preconditions, file names, and headers against execution in browsers.

RFC 9110 (ranges, preconditions), RFC 6266 and 8187 (names), RFC 9530 (digest). The hosted service has no ranges and no
validators; they are added so that `curl -C -` and resuming clients work.
"""

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

from filestead.api.http.errors import ApiError, ErrorResponse
from filestead.api.http.messages import Headers
from filestead.domain.files.model import File

RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.ASCII)
MAX_RANGE_HEADER = 256

CONTENT_HEADERS = {
    "content-type": "application/octet-stream",
    "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
    "accept-ranges": "bytes",
}

# attr-char of RFC 8187: punctuation that needs no escape in an extended value.
ATTR_CHARS = "!#$&+-.^_`|~"


@dataclass(frozen=True, slots=True)
class ContentResponse:
    """Status, headers and byte range of a response with content."""

    status: int
    start: int
    end: int
    headers: dict[str, str]


def etag(file: File) -> str:
    """Return the strong validator: the digest, or the id of a file in parts, whose digest is known later.

    The content of an id never changes, so both identify the bytes.
    """
    return f'"{file.sha256 if file.parts is None else file.id}"'


def content_disposition(filename: str) -> str:
    """Format `Content-Disposition` for any file name; `filename` is an ASCII fallback for old clients."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in filename)
    header = f'attachment; filename="{plain}"'
    if plain != filename:
        header += f"; filename*=UTF-8''{quote(filename, safe=ATTR_CHARS)}"
    return header


def evaluate_preconditions_and_range(file: File, request: Headers, *, ranges: bool = True) -> ContentResponse:
    """Decide what to send. RFC 9110 defines ranges for GET only.

    Raises `ApiError`: 412 if `If-Match` fails, 416 for a range beyond the end.
    """
    if not _if_match_holds(request.getlist("if-match"), file):
        raise ApiError(
            ErrorResponse(
                412,
                "The content of the file does not match If-Match.",
                "If-Match",
                headers={"etag": etag(file)},
            )
        )
    headers = {
        **CONTENT_HEADERS,
        "content-disposition": content_disposition(file.filename),
        "etag": etag(file),
    }
    if file.sha256:
        digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
        headers["repr-digest"] = f"sha-256=:{digest}:"
    if _if_none_match_fails(request.get("if-none-match"), file):
        return ContentResponse(304, 0, 0, headers)
    range_header = request.get("range") if ranges else None
    if range_header is not None and _if_range_holds(request.get("if-range"), file):
        bounds = _parse_range(range_header, file.bytes)
        if bounds is not None:
            start, end = bounds
            headers["content-range"] = f"bytes {start}-{end - 1}/{file.bytes}"
            return ContentResponse(206, start, end, headers)
    return ContentResponse(200, 0, file.bytes, headers)


def _if_match_holds(if_match: list[str], file: File) -> bool:
    """Evaluate `If-Match` by strong comparison: a weak ETag never matches."""
    tags = [tag.strip() for header in if_match for tag in header.split(",")]
    return not if_match or "*" in tags or etag(file) in tags


def _if_none_match_fails(if_none_match: str | None, file: File) -> bool:
    """Evaluate `If-None-Match` by weak comparison."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag(file) in tags


def _if_range_holds(if_range: str | None, file: File) -> bool:
    """Evaluate `If-Range` by strong comparison. A date never matches, as no `Last-Modified` is ever sent."""
    return if_range is None or if_range.strip() == etag(file)


def _parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Parse a single range as (start, end); None if the header must be ignored (several ranges, another unit)."""
    match = RANGE.fullmatch(header.strip()) if len(header) <= MAX_RANGE_HEADER else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        if match[2] and int(match[2]) < start:
            return None
        end = min(int(match[2]) + 1, size) if match[2] else size
    if start >= size:
        raise ApiError(
            ErrorResponse(
                416,
                f"The requested range is not within the file, which has {size} bytes.",
                "range",
                headers={"content-range": f"bytes */{size}"},
            )
        )
    return start, end


def parse_growing_range(header: str | None) -> tuple[int, int | None] | None:
    """Parse a single range of content whose length is not known yet: (start, end), and None for an end that is open.

    None if there is none, or it must be ignored: also one that counts from the end.
    """
    match = RANGE.fullmatch(header.strip()) if header is not None and len(header) <= MAX_RANGE_HEADER else None
    if match is None or not match[1] or (match[2] and int(match[2]) < int(match[1])):
        return None
    return int(match[1]), int(match[2]) + 1 if match[2] else None


async def with_first_block_read(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the first block ahead, so that an unreadable file is detected before the response starts."""
    first = await anext(blocks, b"")

    async def all_blocks() -> AsyncIterator[bytes]:
        yield first
        async for block in blocks:
            yield block

    return all_blocks()
