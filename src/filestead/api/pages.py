"""Pages of a listing as JSON, encoded a share at a time, so that a long page delays no other request."""

import asyncio
from collections.abc import Callable

import msgspec

from filestead import wire
from filestead.domain.files.model import SHORT_PAGE, File, Page

SHARE = SHORT_PAGE
"""Files that are encoded in one go, in about half a millisecond."""


class _Data(msgspec.Struct):
    data: list[wire.FileObject]


EMPTY = b'"data": []'
OPEN, CLOSE = b'{\n  "data": [\n', b"\n  ]\n}\n"


async def encode_page(page: Page, shape: Callable[[File], wire.FileObject]) -> bytes:
    """The page as a `wire.ListFilesResponse`."""
    ids = (page.files[0].id, page.files[-1].id) if page.files else (None, None)
    frame = wire.encode(wire.ListFilesResponse(data=[], has_more=page.has_more, first_id=ids[0], last_id=ids[1]))
    shares = []
    for start in range(0, len(page.files), SHARE):
        if start:
            await asyncio.sleep(0)
        share = _Data([shape(file) for file in page.files[start : start + SHARE]])
        shares.append(wire.encode(share).removeprefix(OPEN).removesuffix(CLOSE))
    if not shares:
        return frame
    return frame.replace(EMPTY, b'"data": [\n' + b",\n".join(shares) + b"\n  ]", 1)
