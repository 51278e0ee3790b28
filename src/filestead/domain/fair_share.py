"""A bounded number of places for expensive work, shared fairly between projects."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairShare:
    """Lets `places` pieces of work run at once. Waiting projects take turns, however much each of them asks for."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def place(self, project_id: str) -> AsyncIterator[None]:
        """Wait for a place and hold it."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(project_id)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, project_id: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(project_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # the place was given just before the cancellation
            raise

    def _pass_on(self) -> None:
        """Give the place to the next project that waits; it then stands behind the others."""
        while self._waiting:
            project_id, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[project_id] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
