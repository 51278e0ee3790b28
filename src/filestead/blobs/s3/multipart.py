"""One multipart upload: a task of the driver that requests parts, and the channel through which it gets them.

States:

    open        from creation on. The driver requests data whenever it can send more; `send_part` and `send_block` wait
                for the request and hand data over. The driver starts a new part each `PART_BYTES`.
    failed      the driver has ended with an error, which every later call raises.
    completed   `complete` has returned, and the object exists.
    aborted     `abort` has returned: the driver has aborted the upload, or was stopped and may have left parts.

Whoever creates an upload ends it by `complete`, or by `abort` after any exception, one of `complete` included.
"""

import asyncio

import obstore

from filestead.blobs.s3.bucket import CREATE_OPERATION, Bucket
from filestead.blobs.s3.errors import translate_s3_errors
from filestead.blobs.s3.parts import PART_BYTES, SpooledPart
from filestead.domain.errors import BlobStoreUnavailable

PART_SECONDS = 15.0
"""For one part, all attempts included."""

COMPLETE_SECONDS = 30.0
CANCEL_SECONDS = 1.0
PIECE_BYTES = 1024 * 1024


class PartChannel:
    """An async iterator for the driver, which calls `__anext__` as soon as it has room for more data."""

    def __init__(self) -> None:
        self._requests = asyncio.Semaphore(0)
        self._items: asyncio.Queue[bytes | memoryview | Exception | None] = asyncio.Queue()
        self._error: BaseException | None = None

    def __aiter__(self) -> "PartChannel":
        return self

    async def __anext__(self) -> bytes | memoryview:
        self._requests.release()
        item = await self._items.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return item

    async def send(self, data: bytes | memoryview) -> None:
        """Hand data over when the driver requests it; raises the driver's error if it has failed."""
        await self._requested()
        self._items.put_nowait(data)

    async def flush(self) -> None:
        """Wait until all data has been sent, if the driver sends one part at a time."""
        # The driver waits for room even before it accepts no bytes, and requests more only then.
        await self.send(b"")
        await self._requested()
        self._requests.release()

    async def _requested(self) -> None:
        await self._requests.acquire()
        if self._error is not None:
            self._requests.release()
            raise self._error

    def end(self) -> None:
        """Tell the driver that there is no more data."""
        self._items.put_nowait(None)

    def abort(self) -> None:
        """Make the driver abort the upload."""
        self._items.put_nowait(UploadAborted())

    def close(self, driver: "asyncio.Future[None]") -> None:
        """The driver has ended: wake up a waiting `send`."""
        self._error = None if driver.cancelled() else driver.exception()
        self._error = self._error or BlobStoreUnavailable(f"{CREATE_OPERATION}: the upload has ended")
        self._requests.release()


class UploadAborted(Exception):
    """What the driver gets instead of data when an upload is aborted."""


class MultipartUpload:
    """See the states above."""

    def __init__(self, bucket: Bucket, path: str, *, concurrency: int) -> None:
        """`concurrency` is how many parts the driver sends at once."""
        self.path = path
        self._bucket = bucket
        self._concurrency = concurrency
        self._channel = PartChannel()
        self._driver = asyncio.ensure_future(self._run_driver())
        self._driver.add_done_callback(self._channel.close)

    async def _run_driver(self) -> None:
        with translate_s3_errors(CREATE_OPERATION):
            await obstore.put_async(
                self._bucket.writer, self.path, self._channel,
                use_multipart=True, chunk_size=PART_BYTES, max_concurrency=self._concurrency,
            )  # fmt: skip

    async def send_part(self, part: SpooledPart) -> None:
        """Send a spooled part. If parts are sent one at a time, it is no longer in memory when this returns."""
        start = 0
        with self._bucket.recorded(CREATE_OPERATION):
            async with asyncio.timeout(PART_SECONDS):
                # In pieces, since the driver copies what it gets into a part of its own.
                while piece := await self._bucket.run(part.read, start, PIECE_BYTES):
                    await self._channel.send(piece)
                    start += len(piece)
                if self._concurrency == 1:
                    await self._channel.flush()

    async def send_block(self, block: memoryview) -> None:
        """Hand a block over; returns when the driver has accepted it."""
        with self._bucket.recorded(CREATE_OPERATION):
            async with asyncio.timeout(PART_SECONDS):
                await self._channel.send(block)

    async def complete(self) -> None:
        """Create the object from the parts."""
        self._channel.end()
        with self._bucket.recorded(CREATE_OPERATION):
            done, _ = await asyncio.wait({self._driver}, timeout=COMPLETE_SECONDS)
            if not done:
                raise BlobStoreUnavailable(f"{CREATE_OPERATION}: the object store did not complete the upload in time")
            self._driver.result()

    async def abort(self, seconds: float) -> None:
        """Make the driver abort the upload within `seconds`, or else stop the driver."""
        self._channel.abort()
        done, _ = await asyncio.wait({self._driver}, timeout=seconds)
        if not done:
            self._driver.cancel()
            await asyncio.wait({self._driver}, timeout=CANCEL_SECONDS)
