"""What passing requests on reports; see `domain/batches/observation.py`, which does so for batches."""

from typing import Protocol


class ForwardingObserver(Protocol):
    """Receives what happens. Every method returns at once and never raises."""

    def responded(self, upstream: str, outcome: str, seconds: float) -> None:
        """The head of a response has come: `2xx`, `4xx` and so on; or none has: `timeout`, `unreachable`."""

    def in_flight(self, upstream: str, count: int) -> None:
        """Take the number of exchanges whose response is not complete; it replaces the one before."""


class UnobservedForwarding:
    """A `ForwardingObserver` that ignores everything, for commands and tests."""

    def responded(self, upstream: str, outcome: str, seconds: float) -> None:
        """Ignore it."""

    def in_flight(self, upstream: str, count: int) -> None:
        """Ignore it."""


UNOBSERVED_FORWARDING = UnobservedForwarding()
