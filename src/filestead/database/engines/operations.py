"""Operations that event loops wait for and threads run."""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterable
from typing import Any

from filestead.database.engines.statements import Connection
from filestead.domain.errors import StorageFailed, StorageFull, StoreUnavailable


class QueuedOperation:
    """An operation, and the future (of some event loop) that waits for its outcome. It runs in the caller's context."""

    __slots__ = ("_context", "_operation", "error", "future", "loop", "result")

    def __init__(self, operation: Callable[[Connection], Any]) -> None:
        self._operation = operation
        self._context = contextvars.copy_context()
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, connection: Connection) -> Any:
        """Run the operation once; returns its result."""
        return self._context.run(self._operation, connection)

    def resolve(self) -> None:
        """Set the outcome of the future, unless it was cancelled. Must be called on the loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def failure_of(error: Exception) -> str | None:
    """The name of a failure of storage; None for any other error, which is an outcome like a result."""
    is_failure = isinstance(error, StoreUnavailable | StorageFailed | StorageFull)
    return type(error).__name__ if is_failure else None


def deliver_outcomes(operations: Iterable[QueuedOperation]) -> None:
    """Deliver outcomes from a thread, with one call per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[QueuedOperation]] = {}
    for queued in operations:
        by_loop.setdefault(queued.loop, []).append(queued)
    for loop, same_loop in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits for the outcome
            loop.call_soon_threadsafe(_resolve_all, same_loop)


def _resolve_all(operations: list[QueuedOperation]) -> None:
    for queued in operations:
        queued.resolve()
