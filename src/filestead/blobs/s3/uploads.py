"""One upload, from its first chunk to a verified object.

    put             spools the first part, up to `PART_BYTES`. Then, depending on what has arrived,
    _put_object     less than a part: sends it in one request that only creates; or
    _put_multipart  starts a multipart upload and sends the parts:
        _send_blocks    no other upload is solo: hands blocks to the driver as they arrive, which sends
                        `SOLO_UPLOAD_CONCURRENCY` parts at once, so that a single upload is as fast as the store;
        _send_spooled   otherwise: spools each part while it sends the one before it;
                    completes the multipart upload, and verifies the object.

Memory: what is being sent is held under the byte semaphore, except for the parts of the solo upload. So memory is
bounded for any number of uploads. Cleanup: after any failure, a cancellation included, nothing is left of the upload;
what cannot be cleaned up now is left to the sweep.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from filestead.blobs.s3.bucket import CREATE_OPERATION, Bucket
from filestead.blobs.s3.errors import ObjectExists
from filestead.blobs.s3.multipart import MultipartUpload
from filestead.blobs.s3.parts import PART_BYTES, PartSplitter, SpooledPart, UploadChecksum, spool_part
from filestead.blobs.s3.semaphore import ByteSemaphore
from filestead.blobs.s3.verification import Verifier
from filestead.domain.errors import BlobStoreUnavailable, DomainError, StorageFailed

log = logging.getLogger("filestead")

SOLO_UPLOAD_CONCURRENCY = 2
MAX_BYTES_IN_FLIGHT = 2 * PART_BYTES
"""Bytes that all uploads but the solo one send at once."""

ABORT_SECONDS = 2.0
UNAVAILABLE_CLEANUP_SECONDS = 0.5


class Uploader:
    """The uploads of one process to one bucket."""

    def __init__(self, bucket: Bucket, verifier: Verifier, spool_folder: Path | None) -> None:
        self._bucket = bucket
        self._verifier = verifier
        self._spool_folder = spool_folder
        self._in_flight = ByteSemaphore(MAX_BYTES_IN_FLIGHT)
        self._solo = asyncio.Lock()
        """Held by the one upload that may send several parts at once."""
        self._paths: set[str] = set()

    async def put(self, path: str, chunks: AsyncIterator[bytes]) -> int:
        """Create the object; all or nothing."""
        if path in self._paths:
            raise StorageFailed(f"{CREATE_OPERATION}: its key is in use")
        self._paths.add(path)
        try:
            splitter, checksum = PartSplitter(chunks), UploadChecksum()
            with contextlib.closing(await self._spool(splitter, checksum)) as first:
                if first.size < PART_BYTES:
                    await self._put_object(path, first, checksum.etag)
                else:
                    await self._put_multipart(path, first, splitter, checksum)
            return checksum.size
        finally:
            self._paths.discard(path)

    async def _spool(self, splitter: PartSplitter, checksum: UploadChecksum) -> SpooledPart:
        return await spool_part(splitter, checksum, self._bucket.run, self._spool_folder)

    async def _put_object(self, path: str, part: SpooledPart, etag: str) -> None:
        async with self._in_flight.hold(part.size):
            data: bytes = await self._bucket.run(part.read, 0, part.size)
            try:
                created = await self._bucket.create(path, data)
                if not self._verifier.etags_are_md5 or created != etag:
                    await self._verifier.verify(path, len(data), etag)
            except ObjectExists:
                # Either another upload's, which stays, or this one's: the response to an earlier attempt may be lost.
                await self._verifier.verify(path, len(data), etag)
            except BaseException as error:
                await asyncio.shield(self._delete(path, error))
                raise

    async def _put_multipart(
        self, path: str, first: SpooledPart, splitter: PartSplitter, checksum: UploadChecksum
    ) -> None:
        solo = not self._solo.locked()
        async with self._solo if solo else contextlib.nullcontext():
            upload = MultipartUpload(self._bucket, path, concurrency=SOLO_UPLOAD_CONCURRENCY if solo else 1)
            try:
                await (self._send_blocks if solo else self._send_spooled)(upload, first, splitter, checksum)
                await self._complete(upload)
                await self._verifier.verify(path, checksum.size, checksum.multipart_etag)
            except BaseException as error:
                await asyncio.shield(self._abort(upload, error))
                raise

    async def _send_blocks(
        self, upload: MultipartUpload, first: SpooledPart, splitter: PartSplitter, checksum: UploadChecksum
    ) -> None:
        with contextlib.closing(first):
            await upload.send_part(first)
        hashing: asyncio.Future[None] | None = None
        async for block in splitter.blocks():
            if hashing is not None:
                await hashing
            hashing = self._bucket.run(checksum.update, block)
            await upload.send_block(block)
        if hashing is not None:
            await hashing

    async def _send_spooled(
        self, upload: MultipartUpload, first: SpooledPart, splitter: PartSplitter, checksum: UploadChecksum
    ) -> None:
        part = first
        with contextlib.ExitStack() as spooled:
            while part.size:
                sending = asyncio.ensure_future(self._send_part(upload, part))
                try:
                    part = await self._spool(splitter, checksum)
                    spooled.callback(part.close)
                    await sending
                finally:
                    sending.cancel()
                    await asyncio.wait([sending])

    async def _send_part(self, upload: MultipartUpload, part: SpooledPart) -> None:
        with contextlib.closing(part):
            async with self._in_flight.hold(part.size):
                await upload.send_part(part)

    async def _complete(self, upload: MultipartUpload) -> None:
        try:
            await upload.complete()
        except DomainError:
            # The store may have completed it, and only the response was lost.
            if await self._bucket.head(upload.path) is None:
                raise

    # --- cleanup ------------------------------------------------------------------------------------------------

    async def _abort(self, upload: MultipartUpload, error: BaseException) -> None:
        await upload.abort(0 if isinstance(error, BlobStoreUnavailable) else ABORT_SECONDS)
        await self._delete(upload.path, error)

    async def _delete(self, path: str, error: BaseException) -> None:
        """Delete what a failed upload left. A store that has just timed out does not get the full time again."""
        try:
            async with asyncio.timeout(
                UNAVAILABLE_CLEANUP_SECONDS if isinstance(error, BlobStoreUnavailable) else None
            ):
                await self._bucket.delete(path)
        except TimeoutError:
            self._bucket.breaker.record_failure()
        except DomainError as failure:
            log.warning("a failed upload is left to the sweep: %s", failure)
