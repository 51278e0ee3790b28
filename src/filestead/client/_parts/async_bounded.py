"""Runs the same work for many items on a few tasks; `bounded` does so on threads."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from filestead.client._threads import wait_for_end

T = TypeVar("T")


async def run_bounded(
    work: Callable[[T], Awaitable[None]], items: Iterable[T], limit: int, stop: Callable[[], None]
) -> None:
    """Call `work` for each item, at most `limit` at a time. The first error ends the others and is raised.

    `stop` is called before work in progress is cancelled.
    """
    waiting = deque(items)

    async def take() -> None:
        while waiting:
            await work(waiting.popleft())

    tasks = [asyncio.create_task(take()) for _ in range(min(limit, len(waiting)))]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        waiting.clear()
        stop()
        for task in tasks:
            task.cancel()
        await wait_for_end(tasks)
        raise
