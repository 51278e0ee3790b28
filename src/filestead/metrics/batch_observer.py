"""A `BatchObserver` that records metrics.

A request costs a bisection and at most five additions in place: the series of a lane are found once.
"""

from bisect import bisect_left
from collections import Counter

from filestead.domain.batches.observation import BatchState, LaneObserver
from filestead.metrics import table
from filestead.metrics.recorder import Recorder
from filestead.metrics.table import OTHER

MAX_MODELS = table.MAX_LANES // 2
"""Models of endpoints that are named. Batches name any model, so that only those with a success are."""

MAX_MODEL_LENGTH = 64
NO_MODEL = "none"
_SUM = table.UPSTREAM_SECONDS.values - 1


class BatchMetrics:
    """See `BatchObserver` for the contract."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._named: dict[tuple[str, str], str] = {}
        self._commits = recorder.distribution(table.BATCH_COMMIT_SECONDS)
        self._results = recorder.value(table.BATCH_RESULTS_WAITING)
        self._bytes = recorder.value(table.BATCH_RESULTS_WAITING_BYTES)
        self._paused = recorder.value(table.BATCHES_PAUSED)
        self._sampled: set[int] = set()
        """Positions of the gauges of lanes."""

    def lane(self, upstream: str, model: str) -> LaneObserver:
        """Return the observer of a lane."""
        return _Lane(self, self._recorder, upstream, model)

    def name(self, upstream: str, model: str) -> str:
        """The label for a model that has succeeded, from now on also in samples."""
        label = self._named.get((upstream, model))
        if label is not None:
            return label
        if len(self._named) >= MAX_MODELS:
            return OTHER
        label = self._named[upstream, model] = model_label(model)
        return label

    def lines_stored(self, outcome: str, count: int) -> None:
        """Count lines."""
        self._recorder.value(table.BATCH_LINES, outcome).add(float(count))

    def results_committed(self, seconds: float) -> None:
        """Record a commit."""
        self._commits.observe(seconds)

    def line_retried(self, cause: str) -> None:
        """Count a retry."""
        self._recorder.value(table.BATCH_RETRIES, cause).add()

    def batch_ended(self, status: str) -> None:
        """Count a batch."""
        self._recorder.value(table.BATCHES_ENDED, status).add()

    def webhook_delivery(self, outcome: str) -> None:
        """Count a delivery."""
        self._recorder.value(table.WEBHOOK_DELIVERIES, outcome).add()

    def chat_probed(self, upstream: str, outcome: str) -> None:
        """Count a probe."""
        self._recorder.value(table.UPSTREAM_CHAT_PROBES, upstream, outcome).add()

    def sampled(self, state: BatchState) -> None:
        """Set the gauges; those of lanes that are gone become 0. Lanes that share a series are added up."""
        sums: Counter[int] = Counter()
        for lane in state.lanes:
            label = self._named.get((lane.upstream, lane.model), OTHER)
            sums[self._recorder.position(table.UPSTREAM_IN_FLIGHT, lane.upstream, label)] += lane.in_flight
            sums[self._recorder.position(table.UPSTREAM_LIMIT, lane.upstream, label)] += lane.limit
        self._sampled |= sums.keys()
        for position in self._sampled:
            self._recorder.values[position] = float(sums[position])
        for upstream in state.upstreams:
            self._recorder.value(table.UPSTREAM_BREAKER_OPEN, upstream.name).set(float(upstream.breaker_open))
            self._recorder.value(table.UPSTREAM_PAUSED_MODELS, upstream.name).set(float(upstream.paused_models))
            if upstream.chat_ttft_p95 is not None:
                self._recorder.value(table.UPSTREAM_CHAT_TTFT, upstream.name).set(upstream.chat_ttft_p95)
        self._results.set(float(state.waiting_results))
        self._bytes.set(float(state.waiting_bytes))
        self._paused.set(float(state.paused_batches))


class _Lane:
    """See `LaneObserver`. The model is `other` until a request for it has succeeded."""

    __slots__ = (
        "_cached",
        "_input",
        "_is_named",
        "_metrics",
        "_model",
        "_output",
        "_recorder",
        "_seconds",
        "_upstream",
        "_values",
    )

    def __init__(self, metrics: BatchMetrics, recorder: Recorder, upstream: str, model: str) -> None:
        self._metrics = metrics
        self._recorder = recorder
        self._values = recorder.values
        self._upstream = upstream
        self._model = model
        self._is_named = False
        self._input = self._cached = self._output = 0
        self._seconds: dict[str, int] = {}

    def ended(self, kind: str, seconds: float, input_tokens: int, cached_tokens: int, output_tokens: int) -> None:
        """Record a request."""
        values = self._values
        if kind == "ok":
            if not self._is_named:
                self._find_series()
            values[self._input] += input_tokens
            values[self._output] += output_tokens
            if cached_tokens:
                values[self._cached] += cached_tokens
        first = self._seconds.get(kind)
        if first is None:
            label = self._metrics.name(self._upstream, self._model) if self._is_named else OTHER
            first = self._recorder.position(table.UPSTREAM_SECONDS, self._upstream, label, kind)
            self._seconds[kind] = first
        values[first + bisect_left(table.UPSTREAM_BUCKETS, seconds)] += 1.0
        values[first + _SUM] += seconds

    def _find_series(self) -> None:
        self._is_named = True
        self._seconds.clear()
        label = self._metrics.name(self._upstream, self._model)
        position = self._recorder.position
        self._input = position(table.UPSTREAM_INPUT_TOKENS, self._upstream, label)
        self._cached = position(table.UPSTREAM_CACHED_TOKENS, self._upstream, label)
        self._output = position(table.UPSTREAM_OUTPUT_TOKENS, self._upstream, label)


def model_label(model: str) -> str:
    """A model as the value of a label: what a batch names may be of any length, with any characters."""
    text = "".join(character if character.isprintable() else "?" for character in model[:MAX_MODEL_LENGTH])
    return text or NO_MODEL
