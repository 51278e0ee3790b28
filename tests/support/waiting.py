"""Waiting for what other processes, threads and tasks do, where nothing tells when it is done."""

import asyncio
import time
from collections.abc import Callable

SECONDS = 30.0
"""Far more than anything takes that is waited for: a slow machine must not fail a test."""


def wait_until(condition: Callable[[], object], what: object = None, seconds: float = SECONDS) -> None:
    """Look again and again; fails with `what`, or with what it returns if it is a function."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(what() if callable(what) else what or f"not within {seconds:g} seconds")
        time.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    """Look again and again, while other tasks run."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)
