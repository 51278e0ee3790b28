"""A `ForwardingObserver` that records metrics. The series of an endpoint are found once."""

from filestead.metrics import table
from filestead.metrics.recorder import Distribution, Recorder, Value


class ForwardingMetrics:
    """See `ForwardingObserver` for the contract."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seconds: dict[tuple[str, str], Distribution] = {}
        self._in_flight: dict[str, Value] = {}

    def responded(self, upstream: str, outcome: str, seconds: float) -> None:
        """Record the duration."""
        found = self._seconds.get((upstream, outcome))
        if found is None:
            found = self._recorder.distribution(table.FORWARDED_SECONDS, upstream, outcome)
            self._seconds[upstream, outcome] = found
        found.observe(seconds)

    def in_flight(self, upstream: str, count: int) -> None:
        """Set the gauge."""
        found = self._in_flight.get(upstream)
        if found is None:
            found = self._in_flight[upstream] = self._recorder.value(table.FORWARDED_IN_FLIGHT, upstream)
        found.set(float(count))
