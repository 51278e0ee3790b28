"""Results of one batch on their way to the journal: committed in groups, and kept until they are stored.

A group is committed every 50 ms, or sooner when it is large, and less often while the process serves requests. While
nothing can be stored, be it for the quota or the database, results wait here and the batch sends no more lines: none is
lost.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from filestead.domain.batches.model import ResultBlock, ResultKind, RunState, TokenUsage
from filestead.domain.batches.observation import UNOBSERVED_BATCHES, BatchObserver
from filestead.domain.errors import DomainError, JobLost, QuotaExceeded

log = logging.getLogger("filestead")

GROUP_SECONDS = 0.05
BUSY_GROUP_SECONDS = 0.25
"""While the process serves requests: each commit makes those of uploads wait."""
GROUP_BYTES = 256 * 1024
MAX_GROUP_BYTES = 1024 * 1024
"""Of one commit, unless it is a single line."""
FULL_BYTES = 4 * 1024 * 1024
"""With so many bytes that are not stored yet, a batch sends no more lines."""
STATE_SECONDS = 1.0
"""How old the known state of the batch may become."""
RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0)
RATE_SECONDS = 10.0
"""The time over which the rate of lines is averaged."""

ZERO = TokenUsage()


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one line. A line that never ran is neither completed nor failed."""

    kind: ResultKind
    line: int
    data: bytes
    completed: bool = False
    failed: bool = False
    usage: TokenUsage = ZERO


class Journal(Protocol):
    """Where results go: the repository, for one job."""

    async def append(self, blocks: Sequence[ResultBlock], lines_per_second: float | None) -> RunState:
        """As `BatchRunRepository.append`."""


@dataclass(slots=True)
class _Rate:
    """Lines a second, averaged over the last seconds."""

    clock: Callable[[], float]
    since: float = 0.0
    lines: int = 0
    value: float | None = None

    def add(self, lines: int) -> None:
        """Count lines that were stored; idle times count too, once there is a rate."""
        now = self.clock()
        if not self.since:
            self.since = now
        self.lines += lines
        if (seconds := now - self.since) >= 1.0:
            share = min(1.0, seconds / RATE_SECONDS)
            rate = self.lines / seconds
            self.value = rate if self.value is None else self.value + share * (rate - self.value)
            self.since, self.lines = now, 0


@dataclass(slots=True, eq=False)
class Results:
    """The results of a batch that are not stored yet, and the state of the batch."""

    name: str
    """For the log: the id of the batch."""
    journal: Journal
    clock: Callable[[], float]
    state: RunState
    state_at: float
    """When `state` was read, by `clock`."""
    on_change: Callable[[], None] = lambda: None
    """Called after each commit, and when `full` has changed."""
    is_busy: Callable[[], bool] = lambda: False
    """Whether the process serves requests."""
    waiting_for: str | None = None
    """Why nothing can be stored now."""
    shown_reason: str | None = None
    """The same for the owner of the batch: without what concerns the server alone, such as paths and addresses."""
    observer: BatchObserver = UNOBSERVED_BATCHES
    unexecuted: str = "cancelled"
    """What lines that never ran are for the observer: `cancelled` or `expired`."""
    _closing: bool = False
    _draining: bool = False
    _waiting: list[Result] = field(default_factory=list)
    _bytes: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stored: asyncio.Event = field(default_factory=asyncio.Event)
    _rate: _Rate = field(init=False)

    def __post_init__(self) -> None:
        self._rate = _Rate(self.clock)

    @property
    def full(self) -> bool:
        """Whether no more lines should be sent now."""
        return self._bytes >= FULL_BYTES or self.waiting_for is not None

    @property
    def waiting(self) -> tuple[int, int]:
        """The number and the bytes of results that are not stored yet."""
        return len(self._waiting), self._bytes

    def add(self, result: Result) -> None:
        """Store a result with the next group."""
        self._waiting.append(result)
        self._bytes += len(result.data)
        if self._bytes >= GROUP_BYTES or len(self._waiting) == 1:
            self._wake.set()

    async def room(self) -> None:
        """Wait until there is room for more results."""
        while self.full:
            self._stored.clear()
            await self._stored.wait()

    async def drained(self) -> None:
        """Wait until everything is stored; nothing will be added, so that it is stored at once."""
        self._draining = True
        self._wake.set()
        while self._waiting:
            self._stored.clear()
            await self._stored.wait()
        self._draining = False

    def close(self) -> None:
        """Let `run` end when everything is stored. A commit must not be cancelled: its outcome would be unknown."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Store results, and keep the state fresh, until `close`. Raises `JobLost`, and what no retry repairs."""
        while self._waiting or not self._closing:
            await self._wait_for_group()
            await self._flush()

    async def _wait_for_group(self) -> None:
        """Wait for the first result, and then until the group is large or its time is over."""
        await self._wait_until(lambda: bool(self._waiting), STATE_SECONDS)
        if self._waiting:
            seconds = BUSY_GROUP_SECONDS if self.is_busy() else GROUP_SECONDS
            await self._wait_until(lambda: self._draining or self._bytes >= GROUP_BYTES, seconds)

    async def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (condition() or self._closing):
                    self._wake.clear()
                    await self._wake.wait()

    async def _flush(self) -> None:
        """Store the next group, or only read the state if there is none; retries until it succeeds.

        The same blocks come again after a commit whose outcome is unknown, so that the journal can tell.
        """
        attempt = 0
        group = self._next_group()
        while True:
            try:
                await self._commit(group)
                break
            except JobLost:
                raise
            except QuotaExceeded as error:
                reason = f"{error}: delete files, or raise the quota"
                self._pause(reason, reason)
            except DomainError as error:
                self._pause(str(error) or type(error).__name__, "the log of the server says why")
            # Reading may be possible all the same: the batch may have been cancelled.
            await self._refresh_state()
            await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
            attempt += 1
        del self._waiting[: len(group)]
        self._bytes -= sum(len(result.data) for result in group)
        if self.waiting_for is not None:
            log.info("batch %s continues", self.name)
            self.waiting_for = self.shown_reason = None
        self._rate.add(len(group))
        self._stored.set()
        self.on_change()

    def _next_group(self) -> list[Result]:
        size = count = 0
        for result in self._waiting:
            size += len(result.data)
            if count and size > MAX_GROUP_BYTES:
                break
            count += 1
        return self._waiting[:count]

    async def _commit(self, group: Sequence[Result]) -> None:
        blocks = blocks_of(group)
        began = self.clock()
        self._note(await self.journal.append(blocks, self._rate.value))
        if blocks:
            self.observer.results_committed(self.clock() - began)
            self._report(blocks)

    def _report(self, blocks: Sequence[ResultBlock]) -> None:
        """Count lines when they are stored: those that run again after a crash count once."""
        completed = sum(block.completed for block in blocks)
        failed = sum(block.failed for block in blocks)
        unexecuted = sum(len(block.lines) for block in blocks) - completed - failed
        for outcome, count in (("completed", completed), ("failed", failed), (self.unexecuted, unexecuted)):
            if count:
                self.observer.lines_stored(outcome, count)

    async def _refresh_state(self) -> None:
        try:
            self._note(await self.journal.append((), self._rate.value))
        except JobLost:
            raise
        except DomainError:
            return
        self.on_change()

    def _note(self, state: RunState) -> None:
        self.state = state
        self.state_at = self.clock()

    def _pause(self, reason: str, shown: str) -> None:
        if self.waiting_for is None:
            log.warning("batch %s pauses, as its results cannot be stored now: %s", self.name, reason)
        self.waiting_for, self.shown_reason = reason, shown
        self.on_change()


def blocks_of(group: Sequence[Result]) -> list[ResultBlock]:
    """The results as blocks, at most one of each kind."""
    blocks = []
    for kind in ResultKind:
        results = [result for result in group if result.kind is kind]
        if results:
            used = [result.usage for result in results if result.usage is not ZERO]
            blocks.append(
                ResultBlock(
                    kind,
                    [result.line for result in results],
                    b"".join([result.data for result in results]),
                    sum(result.completed for result in results),
                    sum(result.failed for result in results),
                    TokenUsage(*map(sum, zip(*used, strict=True))) if used else ZERO,
                )
            )
    return blocks
