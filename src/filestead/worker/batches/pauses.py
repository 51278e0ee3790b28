"""Why a batch sends no lines now: found once a second, and written to its row when it changes, for all processes.

Results carry the parallelism of the batch to its row. Without results for a second, it is written with the pauses.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from filestead.domain.batches.model import Pause
from filestead.domain.errors import DomainError
from filestead.inference.exchanges import Exchange
from filestead.worker.batches.pacing import PAUSED_KINDS

REPORT_SECONDS = 1.0
"""How often a row is written at most."""
BUSY_SECONDS = 5.0
"""How long a model server may refuse all lines of a batch, as it is busy, until the batch says so."""


class Row(Protocol):
    """The row of a batch."""

    @property
    def is_current(self) -> bool:
        """Whether the row has the parallelism of the last second, or that of now."""

    async def set_pauses(self, pauses: Sequence[Pause]) -> None:
        """Store pauses, and the parallelism with them."""


class PauseReporter:
    """Writes the pauses of one batch."""

    def __init__(self, find: Callable[[], tuple[Pause, ...]], row: Row, stored: Sequence[Pause]) -> None:
        """`find` returns the present pauses; `stored` are those in the row, perhaps of a worker before."""
        self._find = find
        self._row = row
        self._stored = tuple(stored)

    async def run(self) -> None:
        """Report until cancelled. What cannot be stored now is tried again; others notice that a lease has ended."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            found = self._find()
            if found != self._stored or not self._row.is_current:
                with contextlib.suppress(DomainError):
                    await self._row.set_pauses(found)
                    self._stored = found


@dataclass(slots=True)
class BusyWatch:
    """Notices model servers that refuse every line of a batch for a while, as they are busy."""

    clock: Callable[[], float]
    _since: dict[str, float] = field(default_factory=dict)
    """When the first of the refusals in a row came, by model."""
    _last: dict[str, Pause] = field(default_factory=dict)

    def note(self, upstream: str, model: str, exchange: Exchange) -> None:
        """Take what came of a line."""
        if exchange.kind == "busy":
            self._since.setdefault(model, self.clock())
            self._last[model] = Pause(upstream, model, f"{exchange.detail}, and has accepted no line of late")
        elif exchange.kind not in PAUSED_KINDS:
            self._since.pop(model, None)

    def pauses(self, model: str) -> tuple[Pause, ...]:
        """The last refusal, if there were only refusals for a while."""
        since = self._since.get(model)
        return (self._last[model],) if since is not None and self.clock() - since >= BUSY_SECONDS else ()
