"""What batches report of their work: lines, requests to model servers, commits, ends, and deliveries to the webhook.

Like `domain/observation.py`: the parts take a `BatchObserver` in their constructors and know nothing of metrics. States
that change with every line are not reported but sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class LaneObserver(Protocol):
    """Receives the requests of one model to one endpoint."""

    def ended(self, kind: str, seconds: float, input_tokens: int, cached_tokens: int, output_tokens: int) -> None:
        """A request has ended; `kind` is that of the exchange. The cached tokens are part of the input."""


@dataclass(frozen=True, slots=True)
class LaneState:
    """The requests of one model to one endpoint at a moment."""

    upstream: str
    model: str
    in_flight: int
    limit: int


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """An endpoint at a moment: whether it cannot be reached, and for how many models it refuses requests."""

    name: str
    breaker_open: bool
    paused_models: int
    chat_ttft_p95: float | None = None
    """Seconds to the first token of interactive requests, if batches are to be polite and there are measurements."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """The batches of a process at a moment."""

    lanes: Sequence[LaneState]
    upstreams: Sequence[UpstreamState]
    waiting_results: int
    """Results that are not stored yet."""
    waiting_bytes: int
    paused_batches: int
    """Batches that send no lines, because their results cannot be stored now."""


class BatchObserver(Protocol):
    """Receives what happens. Every method returns at once and never raises; all durations are seconds."""

    def lane(self, upstream: str, model: str) -> LaneObserver:
        """The observer of a lane, which keeps it."""

    def lines_stored(self, outcome: str, count: int) -> None:
        """Results were stored: of lines that are `completed`, `failed`, `cancelled` or `expired`."""

    def results_committed(self, seconds: float) -> None:
        """A group of results was stored."""

    def line_retried(self, cause: str) -> None:
        """A line is sent again; `cause` is the kind of the exchange before."""

    def batch_ended(self, status: str) -> None:
        """A batch has ended with this status."""

    def webhook_delivery(self, outcome: str) -> None:
        """An attempt to deliver an event has ended, or an event was `given_up`."""

    def chat_probed(self, upstream: str, outcome: str) -> None:
        """A probe of the time to first token has ended: `ok`, `timeout`, `failed` or `refused`."""

    def sampled(self, state: BatchState) -> None:
        """Take the present state; it replaces the one before."""


class UnobservedBatches:
    """A `BatchObserver` that ignores everything, for commands and tests; also a `LaneObserver`."""

    def lane(self, upstream: str, model: str) -> LaneObserver:
        """Return one that ignores everything."""
        return self

    def ended(self, kind: str, seconds: float, input_tokens: int, cached_tokens: int, output_tokens: int) -> None:
        """Ignore it."""

    def lines_stored(self, outcome: str, count: int) -> None:
        """Ignore it."""

    def results_committed(self, seconds: float) -> None:
        """Ignore it."""

    def line_retried(self, cause: str) -> None:
        """Ignore it."""

    def batch_ended(self, status: str) -> None:
        """Ignore it."""

    def webhook_delivery(self, outcome: str) -> None:
        """Ignore it."""

    def chat_probed(self, upstream: str, outcome: str) -> None:
        """Ignore it."""

    def sampled(self, state: BatchState) -> None:
        """Ignore it."""


UNOBSERVED_BATCHES = UnobservedBatches()
