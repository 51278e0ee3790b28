"""A semaphore for expensive work whose slots are shared fairly between projects."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairShare:
    """Admits `slots` operations at a time. Waiting projects take turns, however many requests each of them has."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def slot(self, project_id: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it within the block."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(project_id)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, project_id: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(project_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # the slot was granted just before the cancellation
            raise

    def _release(self) -> None:
        """Grant the slot to the next waiting project, which then goes to the end of the queue."""
        while self._waiting:
            project_id, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[project_id] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
