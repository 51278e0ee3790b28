"""JSON pages of a file list, encoded in chunks, so that a long page does not block the event loop."""

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


async def encode_page(page: Page, to_wire: Callable[[File], wire.FileObject]) -> bytes:
    """Encode a page as `wire.ListFilesResponse`."""
    ids = (page.files[0].id, page.files[-1].id) if page.files else (None, None)
    empty_page = wire.encode(wire.ListFilesResponse(data=[], has_more=page.has_more, first_id=ids[0], last_id=ids[1]))
    chunks = []
    for start in range(0, len(page.files), FILES_PER_CHUNK):
        if start:
            await asyncio.sleep(0)
        chunk = _DataOnly([to_wire(file) for file in page.files[start : start + FILES_PER_CHUNK]])
        chunks.append(wire.encode(chunk).removeprefix(PREFIX).removesuffix(SUFFIX))
    if not chunks:
        return empty_page
    return empty_page.replace(EMPTY_DATA, b'"data": [\n' + b",\n".join(chunks) + b"\n  ]", 1)
