"""Recording values: series of the table's metrics in the section of this process.

A series is found once and kept by the caller; adding to it then costs less than a microsecond. Only one thread may
record a series.
"""

from bisect import bisect_left

from filestead.metrics.board import Board, Section
from filestead.metrics.table import METRICS, OTHER, Kind, Metric

SEPARATOR = "\x1f"


class Value:
    """A counter or gauge."""

    __slots__ = ("_index", "_values")

    def __init__(self, values: "memoryview[float]", index: int) -> None:
        self._values = values
        self._index = index

    def add(self, amount: float = 1.0) -> None:
        """Add to it."""
        self._values[self._index] += amount

    def set(self, value: float) -> None:
        """Set it. For gauges only."""
        self._values[self._index] = value


class Distribution:
    """A histogram: the number of values in each bucket, and their sum."""

    __slots__ = ("_bounds", "_first", "_sum", "_values")

    def __init__(self, values: "memoryview[float]", first: int, bounds: tuple[float, ...]) -> None:
        self._values = values
        self._first = first
        self._bounds = bounds
        self._sum = first + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count a value."""
        values = self._values
        values[self._first + bisect_left(self._bounds, value)] += 1.0
        values[self._sum] += value


class Recorder:
    """The series of this process. A series above the bound of its metric is recorded as `other`."""

    def __init__(self, section: Section) -> None:
        self._section = section
        self._positions = section.adopt()
        self._counts: dict[str, int] = {}
        for key, position in self._positions.items():
            metric = metric_of(key)
            self._counts[metric.name] = self._counts.get(metric.name, 0) + 1
            if metric.kind is Kind.GAUGE:
                section.values[position] = 0.0  # of a process that has died

    def value(self, metric: Metric, *labels: str) -> Value:
        """Return the series of a counter or gauge."""
        return Value(self._section.values, self.position(metric, *labels))

    def distribution(self, metric: Metric, *labels: str) -> Distribution:
        """Return the series of a histogram."""
        return Distribution(self._section.values, self.position(metric, *labels), metric.buckets)

    @property
    def values(self) -> "memoryview[float]":
        """All values of this process, for what cannot afford a call for each of them."""
        return self._section.values

    def position(self, metric: Metric, *labels: str) -> int:
        """Return the position of the first value of a series in `values`."""
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
        key = SEPARATOR.join((metric.name, *labels))
        found = self._positions.get(key)
        if found is not None:
            return found
        count = self._counts.get(metric.name, 0)
        if count >= metric.max_series and labels != (OTHER,) * len(labels):
            return self.position(metric, *(OTHER,) * len(labels))
        position = self._section.append(key, metric.values)
        if position is None:
            raise RuntimeError("the section is too small for the table of metrics")
        self._positions[key] = position
        self._counts[metric.name] = count + 1
        return position


def clear_gauges(board: Board, number: int) -> None:
    """Set the gauges of a process that has ended to zero; its counts remain. For the process that waits for it."""
    values = board.sections[number].values
    for key, position in board.sections[number].positions().items():
        if metric_of(key).kind is Kind.GAUGE:
            values[position] = 0.0


def metric_of(key: str) -> Metric:
    """Return the metric of a series."""
    return METRICS[key.partition(SEPARATOR)[0]]


def labels_of(key: str) -> tuple[str, ...]:
    """Return the values of the labels of a series."""
    return tuple(key.split(SEPARATOR)[1:])
