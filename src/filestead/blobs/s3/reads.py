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

from filestead.blobs.s3.bucket import RESPONSE_SECONDS, Bucket, blob_path
from filestead.blobs.s3.errors import RangeNotSatisfiable
from filestead.blobs.s3.objects import OPERATION, ObjectStream
from filestead.domain.errors import BlobNotFound, BlobStoreUnavailable, StorageFailed

log = logging.getLogger("filestead")

IDLE_SECONDS = 15.0
MAX_RESUMES = 2


async def read_blob(bucket: Bucket, key: str, start: int, end: int | None) -> AsyncGenerator[bytes]:
    """Read the bytes from `start` to `end`; the contract is that of `BlobStore.read`."""
    stream = None if end is not None and start >= end else await _open(bucket, key, start, end, None)
    if stream is None:
        await _require_size(bucket, key, end)
        return
    position, etag, resumes = start, stream.etag, 0
    end = stream.size if end is None else end
    if position >= end:
        stream.close()
        return
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


async def _require_size(bucket: Bucket, key: str, size: int | None) -> None:
    """Raise `BlobNotFound` unless there is such a blob, of at least this size."""
    found = await bucket.head(blob_path(key))
    if found is None or (size is not None and size > found.size):
        raise BlobNotFound(key)


async def _open(bucket: Bucket, key: str, start: int, end: int | None, etag: str | None) -> ObjectStream | None:
    try:
        async with bucket.request(OPERATION, key=key):
            stream = await bucket.reader.open(blob_path(key), start, end, etag)
    except RangeNotSatisfiable:
        return None
    if end is not None and stream.size < end:
        stream.close()
        raise BlobNotFound(key)
    return stream


async def _blocks(bucket: Bucket, stream: ObjectStream, left: int, seconds: float) -> AsyncGenerator[bytes]:
    try:
        while left:
            async with bucket.request(OPERATION, seconds):
                block = await stream.read(bucket.reader.block_bytes)
            left -= len(block)
            if left < 0:
                raise StorageFailed(f"{OPERATION}: the object store sent more than was requested")
            if not block:
                return
            yield block
    finally:
        stream.close()
