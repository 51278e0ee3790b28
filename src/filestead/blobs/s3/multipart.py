"""One multipart upload on its way: the driver asks for parts, and these are handed over as memory allows."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from filestead.blobs.s3.errors import translate_s3_errors
from filestead.blobs.s3.parts import PART_BYTES, Budget, Cut, Part, Run, Sums, md5, spooled
from filestead.domain.errors import BlobStoreUnavailable

EXPRESS = 2
"""The one upload that finds nobody before it sends so many parts at once: alone, it is as fast as the store."""

PART_SECONDS = 15.0
"""For one part, all tries included."""

FINISH_SECONDS = 30.0
CANCEL_SECONDS = 1.0
PIECE_BYTES = 1024 * 1024
WHAT = "creating a blob"
Counted = Callable[[], AbstractContextManager[None]]


class Feed:
    """Hands parts to the driver, which asks for the next one as soon as it has room for it."""

    def __init__(self) -> None:
        self._asked = asyncio.Semaphore(0)
        self._next: asyncio.Queue[bytes | memoryview | Exception | None] = asyncio.Queue()

    def __aiter__(self) -> "Feed":
        return self

    async def __anext__(self) -> bytes | memoryview:
        self._asked.release()
        item = await self._next.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return item

    async def give(self, data: bytes | memoryview) -> None:
        """Hand over; returns when the driver has taken it."""
        await self._asked.acquire()
        self._next.put_nowait(data)

    async def flush(self) -> None:
        """Wait until all that was given has been sent, if the driver sends one part at a time."""
        # The driver waits for room also before it takes nothing, and asks again only then.
        await self.give(b"")
        await self._asked.acquire()
        self._asked.release()

    def end(self) -> None:
        """There is no more."""
        self._next.put_nowait(None)

    def break_off(self) -> None:
        """Make the driver drop the upload."""
        self._next.put_nowait(BrokenOffError())


class BrokenOffError(Exception):
    """What the driver is told when an upload is given up."""


class Multipart:
    """The steps of one upload; begun when it is made, and always ended by `finish` or `break_off`."""

    def __init__(self, store: S3Store, path: str, run: Run, counted: Counted, budget: Budget | None) -> None:
        """`counted` goes around what waits for the store. Without a `budget` several parts go at once."""
        self.path = path
        self._run = run
        self._counted = counted
        self._budget = budget
        self._feed = Feed()
        self._driver = asyncio.ensure_future(self._drive(store))

    async def _drive(self, store: S3Store) -> None:
        at_once = EXPRESS if self._budget is None else 1
        with translate_s3_errors(WHAT):
            await obstore.put_async(
                store, self.path, self._feed, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=at_once
            )

    async def pass_on(self, first: Part, parts: Cut) -> Sums:
        """Send what comes as it comes; for the one upload without a budget."""
        sums = Sums(first)
        await self._send(first)
        hashing: asyncio.Future[Any] | None = None
        while True:
            digest = md5()
            async for block in parts.part():
                if hashing is not None:
                    await hashing
                hashing = self._run(digest.update, block)
                sums.size += len(block)
                await self._step(self._feed.give(block))
            if hashing is None:
                return sums
            await hashing
            hashing = None
            sums.digests.append(digest)

    async def send(self, first: Part, parts: Cut, spool: Path | None) -> Sums:
        """Send each part while the next one is being spooled."""
        sums, part = Sums(first), first
        with contextlib.ExitStack() as spools:
            while part.size:
                sending = asyncio.ensure_future(self._send(part))
                try:
                    part = await spooled(parts.part(), self._run, spool)
                    spools.callback(part.close)
                    await sending
                finally:
                    sending.cancel()
                    await asyncio.wait([sending])
                if part.size:
                    sums.add(part)
        return sums

    async def _send(self, part: Part) -> None:
        """Send a part. With a budget, it has left the memory when this returns."""
        async with contextlib.AsyncExitStack() as held:
            held.callback(part.close)
            if self._budget is not None:
                await held.enter_async_context(self._budget.hold(part.size))
            await self._step(self._hand_over(part))

    async def _hand_over(self, part: Part) -> None:
        await self._run(part.rewind)
        # In pieces, since the driver copies what it is given into a part of its own.
        while piece := await self._run(part.read, PIECE_BYTES):
            await self._feed.give(piece)
        if self._budget is not None:
            await self._feed.flush()

    async def _step(self, step: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(step)
        try:
            with self._counted():
                await asyncio.wait({task, self._driver}, timeout=PART_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not task.done():
                    if self._driver.done():
                        self._driver.result()
                    raise BlobStoreUnavailable(f"{WHAT}: the object store did not take a part in time")
        finally:
            task.cancel()

    async def finish(self) -> None:
        """Make the object of its parts."""
        self._feed.end()
        with self._counted():
            done, _ = await asyncio.wait({self._driver}, timeout=FINISH_SECONDS)
            if not done:
                raise BlobStoreUnavailable(f"{WHAT}: the object store did not finish in time")
            self._driver.result()

    async def break_off(self, seconds: float) -> None:
        """Give up: the driver drops the parts when it hears of it within `seconds`, or else is stopped."""
        self._feed.break_off()
        done, _ = await asyncio.wait({self._driver}, timeout=seconds)
        if not done:
            self._driver.cancel()
            await asyncio.wait({self._driver}, timeout=CANCEL_SECONDS)
        if self._driver.done() and not self._driver.cancelled():
            self._driver.exception()  # has been told
