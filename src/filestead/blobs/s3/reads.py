"""Reading one blob: a stream that is resumed where it broke, as long as the object is still the same.

States of a read:

    opening     the range is requested. `None` instead of a stream means that the blob ends before the range starts.
    streaming   blocks arrive. Each has `IDLE_SECONDS`, or `RESPONSE_SECONDS` once the read has broken.
    broken      a block was late, or the stream ended early: the rest is requested, for the same ETag only. After
                `MAX_RESUMES`, or if the store gives no ETag, the read fails.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore

from filestead.blobs.s3.bucket import RESPONSE_SECONDS, Bucket, blob_path
from filestead.blobs.s3.errors import RangeNotSatisfiable
from filestead.domain.errors import BlobNotFound, BlobStoreUnavailable, StorageFailed

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions

log = logging.getLogger("filestead")

OPERATION = "reading a blob"
IDLE_SECONDS = 15.0
MAX_RESUMES = 2
READ_BYTES = 1024 * 1024


@dataclass(slots=True)
class _Stream:
    """An open stream, where it ends, and the ETag for resuming it."""

    blocks: "BytesStream"
    end: int
    etag: str | None


async def read_blob(bucket: Bucket, key: str, start: int, end: int | None) -> AsyncGenerator[bytes]:
    """Read the bytes from `start` to `end`; the contract is that of `BlobStore.read`."""
    stream = None if end is not None and start >= end else await _open(bucket, key, start, end, None)
    if stream is None:
        found = await bucket.head(blob_path(key))
        if found is None or (end is not None and end > found.size):
            raise BlobNotFound(key)
        return
    position, end, etag, resumes = start, stream.end, stream.etag, 0
    while position < end:
        seconds = RESPONSE_SECONDS if resumes else IDLE_SECONDS
        try:
            async with contextlib.aclosing(_blocks(bucket, stream, end - position, seconds)) as blocks:
                async for block in blocks:
                    position += len(block)
                    yield block
            if position < end:
                raise StorageFailed(f"{OPERATION}: the response is incomplete")
        except (BlobStoreUnavailable, StorageFailed) as error:
            resumes += 1
            if resumes > MAX_RESUMES or etag is None:
                raise
            log.info("%s; resuming at byte %d", error, position)
            try:
                stream = await _open(bucket, key, position, end, etag)
            except BlobNotFound:
                stream = None
            if stream is None:
                raise StorageFailed(f"{OPERATION}: the object was deleted") from None


async def _open(bucket: Bucket, key: str, start: int, end: int | None, etag: str | None) -> _Stream | None:
    options: GetOptions = {}
    if etag is not None:
        options["if_match"] = etag
    if end is not None:
        options["range"] = (start, end)
    elif start:
        options["range"] = {"offset": start}
    try:
        async with bucket.request(OPERATION, key=key):
            response = await obstore.get_async(bucket.reader, blob_path(key), options=options)
            meta = response.meta
            blocks = response.stream(min_chunk_size=READ_BYTES)
    except RangeNotSatisfiable:
        return None
    if end is not None and meta["size"] < end:
        raise BlobNotFound(key)
    return _Stream(blocks, meta["size"] if end is None else end, meta["e_tag"])


async def _blocks(bucket: Bucket, stream: _Stream, left: int, seconds: float) -> AsyncGenerator[bytes]:
    while True:
        async with bucket.request(OPERATION, seconds):
            block = await anext(stream.blocks, b"")
        left -= len(block)
        if left < 0:
            raise StorageFailed(f"{OPERATION}: the object store sent more than was requested")
        if not block:
            return
        yield block
