"""`scrub`: reads all contents beside running servers, at a bounded rate, and compares them with their digests.

A pass goes through the blobs in the order of their keys, so that any run can continue it. What was damaged is read
again by each run, until it is intact or not needed any more.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from filestead.domain.blobs import BlobStore, ContentRepository, StoredContent
from filestead.domain.errors import BlobNotFound, StorageFailed

PAGE = 100
MIN_BYTES = 512 * 1024
"""What a blob counts at least, since each costs an access: at 10 MiB a second, 20 blobs a second."""
UNREADABLE_IN_A_ROW = 10
"""Then the disk or its mount is at fault, and not single blobs."""
LOST_SECONDS = 1.0
"""How much of the time that reading took is made up for."""


@dataclass(slots=True)
class ScrubPosition:
    """How far the passes have come, to be kept between runs. Times are Unix seconds."""

    after: str = ""
    """The key of the last blob that this pass has read."""
    started_at: int | None = None
    blobs: int = 0
    bytes: int = 0
    """What this pass has read."""
    finished_at: int | None = None
    """When the last whole pass ended."""
    damaged: list[str] = field(default_factory=list)
    """Keys of the blobs that were damaged when they were last read."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A content that is not the one that was uploaded, for one of its owners."""

    content: StoredContent
    evidence: str


@dataclass(slots=True)
class ScrubReport:
    """What one run has read and found."""

    blobs: int = 0
    bytes: int = 0
    damages: list[Damage] = field(default_factory=list)
    is_complete: bool = False
    """Whether the run has come to the end of the pass."""


class Pace:
    """Lets at most `per_second` units a second pass, on average; 0 means no limit."""

    def __init__(
        self, per_second: float, now: Callable[[], float], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._per_second = per_second
        self._now = now
        self._sleep = sleep
        self._due = now()

    async def spend(self, amount: int) -> None:
        """Wait until these units, which have been used, are within the rate."""
        if self._per_second:
            self._due = max(self._due, self._now() - LOST_SECONDS) + amount / self._per_second
            await self._sleep(max(0.0, self._due - self._now()))


class Scrub:
    """`now` is a clock that never goes back, and `time` the Unix time, both in seconds."""

    def __init__(
        self,
        contents: ContentRepository,
        blobs: BlobStore,
        pace: Pace,
        *,
        now: Callable[[], float],
        time: Callable[[], float],
    ) -> None:
        self._contents = contents
        self._blobs = blobs
        self._pace = pace
        self._now = now
        self._time = time
        self._unreadable = 0

    async def run(
        self,
        position: ScrubPosition,
        *,
        seconds: float | None = None,
        progress: Callable[[ScrubPosition], None] = lambda position: None,
    ) -> ScrubReport:
        """Continue the pass, or begin one, until its end or for `seconds`. Calls `progress` after each blob.

        Raises `StorageFailed` if blobs cannot be read in general.
        """
        report = ScrubReport()
        ends = None if seconds is None else self._now() + seconds
        for key in list(position.damaged):
            await self._check(key, position, report)
        if position.started_at is None:
            position.started_at = int(self._time())
        while page := await self._contents.page(position.after, PAGE):
            for content in page:
                if ends is not None and self._now() >= ends:
                    return report
                if content.key not in position.damaged:  # that was read just now
                    await self._check(content.key, position, report, content)
                position.after = content.key
                position.blobs += 1
                position.bytes += content.bytes
                progress(position)
        position.after, position.started_at, position.blobs, position.bytes = "", None, 0, 0
        position.finished_at = int(self._time())
        report.is_complete = True
        return report

    async def _check(
        self, key: str, position: ScrubPosition, report: ScrubReport, content: StoredContent | None = None
    ) -> None:
        owners = [content] if content else await self._contents.owners(key)
        evidence = await self._compare(owners[0], report) if owners else None
        if evidence is not None:
            # A second look: the first may have failed on its way, or the blob was being deleted.
            evidence = await self._compare(owners[0], report)
            owners = await self._contents.owners(key)
        known = set(position.damaged) - {key}
        if evidence is not None and owners:
            known.add(key)
            report.damages += [Damage(owner, evidence) for owner in owners]
        position.damaged = sorted(known)

    async def _compare(self, content: StoredContent, report: ScrubReport) -> str | None:
        """Read a blob; return what is wrong with it."""
        digest, size = hashlib.sha256(), 0
        report.blobs += 1
        try:
            async with contextlib.aclosing(self._blobs.read(content.key)) as blocks:
                async for block in blocks:
                    await asyncio.to_thread(digest.update, block)
                    size += len(block)
                    report.bytes += len(block)
                    await self._pace.spend(len(block))
        except BlobNotFound:
            return "the blob is missing"
        except StorageFailed as error:
            self._unreadable += 1
            if self._unreadable >= UNREADABLE_IN_A_ROW:
                raise
            return f"the blob cannot be read: {error}"
        self._unreadable = 0
        await self._pace.spend(max(0, MIN_BYTES - size))
        if size != content.bytes:
            return f"the blob has {size} bytes instead of {content.bytes}"
        return None if digest.hexdigest() == content.sha256 else "the blob's SHA-256 is not that of the upload"
