"""Blocking work of the asynchronous client, on threads. The generated synchronous modules call the work directly."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def in_thread(work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Run `work` on a thread. A cancelled caller waits for its end, so that no file is closed while it is written."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
