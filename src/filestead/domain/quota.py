"""The quota reservation of one upload in progress: extended in steps, ahead of the bytes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from filestead.domain.errors import QuotaExceeded

UNRESERVED_BYTES = 64 * 1024
"""Bytes that an upload may store without a reservation, so that a small one needs no transaction for it."""
MIN_STEP = 1024 * 1024
MAX_STEP = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Quota:
    """Bytes that may be stored: files, and the index of those in vector stores. None means no limit."""

    project_bytes: int | None = None
    organization_bytes: int | None = None


def first_step(content_length: int | None) -> int:
    """Bytes to reserve before an upload begins; `content_length` is the request's, None for a chunked body."""
    return min(MIN_STEP, max(0, (content_length or 0) - UNRESERVED_BYTES))


class QuotaReservation:
    """The reservation of one upload.

    A step is as large as the bytes received so far (`MIN_STEP` to `MAX_STEP`), so a slow upload reserves little. The
    next step is reserved while the bytes of the last one arrive. If a step does not fit, only the bytes that have
    arrived are reserved; the upload is rejected if these do not fit.
    """

    def __init__(self, reserve: Callable[[int], Awaitable[None]], *, held: int, at_most: int | None) -> None:
        """`reserve` extends the reservation or raises; `held` of at most `at_most` bytes are reserved."""
        self._reserve = reserve
        self._held = held
        self._at_most = at_most
        self._ahead: asyncio.Task[None] | None = None
        self._steps_fit = True

    async def cover(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Yield each chunk once its bytes are reserved. Raises `QuotaExceeded`."""
        size = 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                await self._cover(size)
                yield chunk
        finally:
            if self._ahead is not None:
                self._ahead.cancel()
                await asyncio.gather(self._ahead, return_exceptions=True)

    async def _cover(self, size: int) -> None:
        needed = size - UNRESERVED_BYTES
        while needed > self._held:
            if self._ahead is None and self._steps_fit:
                self._begin_step(size)
            if self._ahead is None:
                await self._extend(needed - self._held)
            else:
                await self._finish_step()
        if self._ahead is not None and self._ahead.done():
            await self._finish_step()
        if self._ahead is None and self._steps_fit and 0 < self._held < size + _step(size) // 2:
            self._begin_step(size)

    def _begin_step(self, size: int) -> None:
        step = _step(size)
        if self._at_most is not None:
            step = min(step, self._at_most - UNRESERVED_BYTES - self._held)
        if step > 0:
            self._ahead = asyncio.create_task(self._extend(step))

    async def _finish_step(self) -> None:
        step, self._ahead = self._ahead, None
        assert step is not None
        try:
            await step
        except QuotaExceeded:
            self._steps_fit = False

    async def _extend(self, more: int) -> None:
        await self._reserve(more)
        self._held += more


def _step(size: int) -> int:
    return max(MIN_STEP, min(MAX_STEP, size))
