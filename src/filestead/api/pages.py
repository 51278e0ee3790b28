"""JSON pages of a file list, encoded and sent in pieces, so that a long page does not block the event loop."""

import asyncio
from collections.abc import Callable

import msgspec

from filestead import wire
from filestead.domain.files.model import SHORT_PAGE, File, Page

FILES_PER_CHUNK = SHORT_PAGE
"""Files that are encoded at once, in about half a millisecond."""


class _DataOnly(msgspec.Struct):
    data: list[wire.FileObject]


EMPTY_DATA = b'"data": []'
PREFIX, SUFFIX = b'{\n  "data": [\n', b"\n  ]\n}\n"


async def encode_page(page: Page, to_wire: Callable[[File], wire.FileObject]) -> list[bytes]:
    """Encode a page as `wire.ListFilesResponse`, in pieces: a page of 10,000 files has 3 MB, whose copies take time."""
    ids = (page.files[0].id, page.files[-1].id) if page.files else (None, None)
    empty_page = wire.encode(wire.ListFilesResponse(data=[], has_more=page.has_more, first_id=ids[0], last_id=ids[1]))
    if not page.files:
        return [empty_page]
    before, after = empty_page.split(EMPTY_DATA, 1)
    pieces = []
    for start in range(0, len(page.files), FILES_PER_CHUNK):
        if start:
            await asyncio.sleep(0)
        chunk = _DataOnly([to_wire(file) for file in page.files[start : start + FILES_PER_CHUNK]])
        text = wire.encode(chunk).removeprefix(PREFIX).removesuffix(SUFFIX)
        pieces.append((b",\n" if start else before + b'"data": [\n') + text)
    pieces[-1] += b"\n  ]" + after
    return pieces
