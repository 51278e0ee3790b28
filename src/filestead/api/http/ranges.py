"""The content of a file as an answer: ranges, validators, the name, and headers that keep a browser from running it.

RFC 9110 (ranges, conditions), RFC 6266 and 8187 (names), RFC 9530 (digest). The hosted service has no ranges and no
validators; they are added so that `curl -C -` and resuming clients work.
"""

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

from starlette.datastructures import Headers

from filestead.api.http.errors import Answer, RequestError
from filestead.domain.files.model import File

RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.ASCII)
MAX_RANGE_HEADER = 256

SAFE = {
    "content-type": "application/octet-stream",
    "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
    "accept-ranges": "bytes",
}

# attr-char of RFC 8187: what may stand unescaped in an extended value.
ATTR_CHARS = "!#$&+-.^_`|~"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a file goes out, and with which status."""

    status: int
    start: int
    end: int
    headers: dict[str, str]


def etag(file: File) -> str:
    """The strong validator: the content's digest, since the bytes of an id never change."""
    return f'"{file.sha256}"'


def disposition(filename: str) -> str:
    """`Content-Disposition` for a name of any characters; the plain form is there for old clients."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in filename)
    header = f'attachment; filename="{plain}"'
    if plain != filename:
        header += f"; filename*=UTF-8''{quote(filename, safe=ATTR_CHARS)}"
    return header


def select(file: File, request: Headers, *, ranges: bool = True) -> Selection:
    """Decide what to send. RFC 9110 gives ranges to GET alone.

    Raises `RequestError`: 412 where `If-Match` names other content, 416 for a range behind the end.
    """
    if not _is_expected(request.getlist("if-match"), file):
        raise RequestError(
            Answer(
                412,
                "The content of the file is not the one that If-Match names.",
                "If-Match",
                headers={"etag": etag(file)},
            )
        )
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    headers = {
        **SAFE,
        "content-disposition": disposition(file.filename),
        "etag": etag(file),
        "repr-digest": f"sha-256=:{digest}:",
    }
    if _matches(request.get("if-none-match"), file):
        return Selection(304, 0, 0, headers)
    asked = request.get("range") if ranges else None
    if asked is not None and _still_same(request.get("if-range"), file):
        found = _range(asked, file.bytes)
        if found is not None:
            start, end = found
            headers["content-range"] = f"bytes {start}-{end - 1}/{file.bytes}"
            return Selection(206, start, end, headers)
    return Selection(200, 0, file.bytes, headers)


def _is_expected(if_match: list[str], file: File) -> bool:
    """`If-Match` compares strongly: a weak tag never matches."""
    tags = [tag.strip() for header in if_match for tag in header.split(",")]
    return not if_match or "*" in tags or etag(file) in tags


def _matches(if_none_match: str | None, file: File) -> bool:
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag(file) in tags


def _still_same(if_range: str | None, file: File) -> bool:
    """`If-Range` compares strongly; a date never matches, as no date is ever sent."""
    return if_range is None or if_range.strip() == etag(file)


def _range(header: str, size: int) -> tuple[int, int] | None:
    """The one range of a header as (start, end); None if the header is to be ignored (several ranges, another unit)."""
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
        raise RequestError(
            Answer(
                416,
                f"The requested range is not within the file, which has {size} bytes.",
                "range",
                headers={"content-range": f"bytes */{size}"},
            )
        )
    return start, end


async def prime(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same blocks, the first of which is already read: what cannot be read is found before the answer begins."""
    first = await anext(blocks, b"")

    async def primed() -> AsyncIterator[bytes]:
        yield first
        async for block in blocks:
            yield block

    return primed()
