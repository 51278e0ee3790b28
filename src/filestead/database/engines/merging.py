"""Transactions that do the work of several requests: what waits while one is in flight goes together in the next.

This saves statements, as the group commit of SQLite saves syncs, and on PostgreSQL both.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from filestead.database.engines.statements import Connection, Database
from filestead.domain.errors import OutcomeUnknown

LARGEST = 32

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[I, T]):
    item: I
    key: Hashable
    future: "asyncio.Future[T]"


class MergedWrites(Generic[I, T]):
    """Writes items with `together`, which does them all or none; if it fails, each is written alone."""

    def __init__(
        self,
        database: Database,
        together: Callable[[Connection, Sequence[I]], list[T]],
        alone: Callable[[Connection, I], T],
    ) -> None:
        self._database = database
        self._together = together
        self._alone = alone
        self._waiting: list[_Waiting[I, T]] = []
        self._running: asyncio.Task[None] | None = None

    async def write(self, key: Hashable, item: I) -> T:
        """Write the item durably, in one transaction with others of the same key that wait."""
        loop = asyncio.get_running_loop()
        if self._running is None or self._running.get_loop() is not loop:
            self._waiting = []
            self._running = loop.create_task(self._run())
        waiting: _Waiting[I, T] = _Waiting(item, key, loop.create_future())
        self._waiting.append(waiting)
        return await waiting.future

    async def _run(self) -> None:
        while self._waiting:
            key = self._waiting[0].key
            group = [waiting for waiting in self._waiting if waiting.key == key][:LARGEST]
            chosen = set(map(id, group))
            self._waiting = [waiting for waiting in self._waiting if id(waiting) not in chosen]
            await self._write_group(group)
        self._running = None

    async def _write_group(self, group: list[_Waiting[I, T]]) -> None:
        if len(group) > 1 and await self._write_together(group):
            return
        await asyncio.gather(*(self._write_alone(waiting) for waiting in group))

    async def _write_together(self, group: list[_Waiting[I, T]]) -> bool:
        """Whether the outcome of each is known, or is known to be unknown."""
        items = [waiting.item for waiting in group]
        try:
            results = await self._database.write(lambda connection: self._together(connection, items))
        except OutcomeUnknown as error:
            for waiting in group:
                if not waiting.future.done():
                    waiting.future.set_exception(OutcomeUnknown(str(error)))
            return True
        except Exception:  # of one of them, or of the database: each finds its own
            return False
        for waiting, result in zip(group, results, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(result)
        return True

    async def _write_alone(self, waiting: _Waiting[I, T]) -> None:
        try:
            result = await self._database.write(lambda connection: self._alone(connection, waiting.item))
        except Exception as error:
            if not waiting.future.done():
                waiting.future.set_exception(error)
        else:
            if not waiting.future.done():
                waiting.future.set_result(result)
