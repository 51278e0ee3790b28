"""Operations that are repeated while the database is unavailable, within a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from filestead.domain.errors import OutcomeUnknown, StoreUnavailable

RETRY_SECONDS = 30
"""How long an operation is retried while the database is unavailable or the outcome of a commit is unknown."""

RETRY_DELAYS = (0.1, 0.2, 0.5, 1.0)

T = TypeVar("T")


async def retry_until_deadline(operation: Callable[[], Awaitable[T]], retry_on: type[StoreUnavailable]) -> T:
    """Run an operation, and retry it on this error for up to `RETRY_SECONDS`."""
    now = asyncio.get_running_loop().time
    deadline = now() + RETRY_SECONDS
    attempts = 0
    while True:
        try:
            return await operation()
        except retry_on:
            delay = RETRY_DELAYS[min(attempts, len(RETRY_DELAYS) - 1)]
            if now() + delay > deadline:
                raise
        attempts += 1
        await asyncio.sleep(delay)


async def resolve_outcome(operation: Callable[[], Awaitable[T]]) -> T:
    """Run an operation. If its commit may have happened, it is repeated until that is known."""
    try:
        return await operation()
    except OutcomeUnknown:
        return await retry_until_deadline(operation, StoreUnavailable)
