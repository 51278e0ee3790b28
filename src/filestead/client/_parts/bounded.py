"""Runs the same work for many items on a few threads; `async_bounded` does so on tasks."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

STOP_SECONDS = 5.0
"""How long an error waits for all threads that it ends; each notices it with its next block."""


def run_bounded(work: Callable[[T], None], items: Iterable[T], limit: int, stop: Callable[[], None]) -> None:
    """Call `work` for each item, at most `limit` at a time. The first error ends the others and is raised.

    A thread cannot be cancelled: `stop` must make the work in progress raise. An interrupt of the caller is raised at
    once; the threads are daemons, so that they do not keep a program from ending.
    """
    waiting = deque(items)
    if limit <= 1 or len(waiting) <= 1:
        for item in waiting:
            work(item)
        return
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    count = min(limit, len(waiting))
    threads = [threading.Thread(target=_take, args=(work, waiting, ended), daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            if (error := ended.get()) is not None:
                raise error
    except BaseException as error:
        waiting.clear()
        stop()
        if isinstance(error, Exception):
            deadline = time.monotonic() + STOP_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        raise


def _take(work: Callable[[T], None], waiting: deque[T], ended: "queue.SimpleQueue[BaseException | None]") -> None:
    """Work until nothing is waiting, and report how that ended."""
    result: BaseException | None = None
    try:
        while waiting:
            try:
                item = waiting.popleft()
            except IndexError:  # another thread was faster
                break
            work(item)
    except BaseException as error:
        result = error
    ended.put(result)
