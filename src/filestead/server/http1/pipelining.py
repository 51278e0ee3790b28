"""Fair scheduling of pipelined requests, which were sent before the response to the previous one.

A connection can leave hundreds of them at once. An event loop iteration accepts one new connection; if it also served
one pipelined request for each such connection, 600 of them would delay a health check by 14 s.
"""

import asyncio
from collections import deque
from collections.abc import Callable

BATCH_SIZE = 16


class PipelineScheduler:
    """Resumes at most `BATCH_SIZE` connections in each iteration of the event loop, first come, first served."""

    def __init__(self) -> None:
        self._queue: deque[Callable[[], None]] = deque()
        self._handle: asyncio.Handle | None = None

    def schedule(self, resume: Callable[[], None]) -> None:
        """Call `resume` in a later iteration of the event loop."""
        self._queue.append(resume)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._run_batch)

    def _run_batch(self) -> None:
        count = min(BATCH_SIZE, len(self._queue))
        self._handle = asyncio.get_running_loop().call_soon(self._run_batch) if count < len(self._queue) else None
        for _ in range(count):
            self._queue.popleft()()
