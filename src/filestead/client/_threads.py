"""Blocking work of the asynchronous client, on threads. The generated synchronous modules call the work directly."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def in_thread(work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Run `work` on a thread. A cancelled caller waits for its end, so that no file is closed while it is written."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await wait_for_end([task])
        raise


async def wait_for_end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait until all tasks are done, even if the caller is cancelled again: it must raise `CancelledError` itself."""
    while not all(task.done() for task in tasks):
        with suppress(asyncio.CancelledError):
            await asyncio.wait(tasks)
