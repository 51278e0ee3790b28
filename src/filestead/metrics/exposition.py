"""The Prometheus text: values of all processes merged, with those of the machine and of the database."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filestead.domain.figures import Figures, UnfinishedBatches
from filestead.metrics import table
from filestead.metrics.board import Snapshot
from filestead.metrics.process import cpu_seconds, memory_bytes
from filestead.metrics.recorder import labels_of, metric_of
from filestead.metrics.table import Kind, Merge, Metric

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

Series = Mapping[tuple[str, ...], tuple[float, ...]]
"""The values of a metric by the values of its labels."""


@dataclass(frozen=True, slots=True)
class Build:
    """What runs: the values of the labels of `filestead_build_info`, and the quota of a project (0 for none)."""

    version: str
    python: str
    installation: str
    role: str
    project_quota: int


def expose(build: Build, snapshots: Iterable[Snapshot], figures: Figures | None) -> bytes:
    """Return the text; without `figures`, the database could not be read."""
    # Loaded by the first reading of metrics: the package brings two HTTP servers along.
    from prometheus_client import generate_latest  # noqa: PLC0415
    from prometheus_client.registry import CollectorRegistry  # noqa: PLC0415

    sections = list(snapshots)
    merged = {**merge(sections), **_machine(build, sections, figures is not None)}
    if figures is not None:
        merged |= _database(build, figures)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(merged))
    return generate_latest(registry)


def merge(snapshots: Iterable[Snapshot]) -> dict[Metric, dict[tuple[str, ...], tuple[float, ...]]]:
    """Add up counters and histograms of all processes; merge gauges as the table says."""
    merged: dict[Metric, dict[tuple[str, ...], tuple[float, ...]]] = {}
    for snapshot in snapshots:
        for key, values in snapshot.series.items():
            metric, labels = metric_of(key), labels_of(key)
            series = merged.setdefault(metric, {})
            before = series.get(labels)
            if before is not None:
                join = max if metric.merge is Merge.MAX else float.__add__
                values = tuple(map(join, before, values))  # noqa: PLW2901
            series[labels] = values
    return merged


def _machine(build: Build, snapshots: Iterable[Snapshot], up: bool) -> dict[Metric, Series]:
    labels = (build.version, build.python, build.installation, build.role)
    workers: dict[tuple[str, ...], Snapshot] = {(str(snapshot.number),): snapshot for snapshot in snapshots}
    return {
        table.BUILD_INFO: {labels: (1.0,)},
        table.WORKER_STARTS: {worker: (float(snapshot.starts),) for worker, snapshot in workers.items()},
        table.WORKER_MEMORY: _read(workers, memory_bytes),
        table.WORKER_CPU: _read(workers, cpu_seconds),
        table.DATABASE_UP: {(): (float(up),)},
    }


def _read(workers: Mapping[tuple[str, ...], Snapshot], read: Callable[[int], float | None]) -> Series:
    found = {worker: read(snapshot.process) for worker, snapshot in workers.items()}
    return {worker: (value,) for worker, value in found.items() if value is not None}


def _database(build: Build, figures: Figures) -> dict[Metric, Series]:
    return {
        table.PROJECT_USED: {(each.project_id,): (float(each.used),) for each in figures.projects},
        table.PROJECT_RESERVED: {(each.project_id,): (float(each.reserved),) for each in figures.projects},
        table.PROJECT_QUOTA: {(): (float(build.project_quota),)},
        table.SWEEP_BACKLOG: {(each.kind,): (float(each.count),) for each in figures.sweep},
        table.SWEEP_BACKLOG_AGE: {(each.kind,): (each.oldest_seconds,) for each in figures.sweep},
        table.JOBS: {(each.kind, each.state): (float(each.count),) for each in figures.jobs},
        table.JOBS_OLDEST: {(each.kind, each.state): (each.oldest_seconds,) for each in figures.jobs},
        table.UPLOADS_PENDING: {(): (float(figures.pending_uploads),)},
        **_batches(figures.batches),
    }


def _batches(unfinished: Sequence[UnfinishedBatches]) -> dict[Metric, Series]:
    running = [each for each in unfinished if each.status == "in_progress"]
    deadlines = [each.deadline_seconds for each in unfinished if each.status in ("validating", "in_progress")]
    return {
        table.BATCHES: {(each.status,): (float(each.count),) for each in unfinished},
        table.BATCHES_OLDEST: {(each.status,): (each.oldest_seconds,) for each in unfinished},
        table.BATCH_LINES_LEFT: {(): (float(sum(each.lines_left for each in running)),)},
        table.BATCH_DEADLINE: _known(min, deadlines),
        table.BATCH_REMAINING: _known(max, (each.remaining_seconds for each in running)),
        table.BATCH_SLACK: _known(min, (each.slack_seconds for each in running)),
    }


def _known(choose: Callable[[Iterable[float]], float], values: Iterable[float | None]) -> Series:
    """The series of a metric that is missing if nothing is known."""
    known = [float(value) for value in values if value is not None]
    return {(): (choose(known),)} if known else {}


class _Collector:
    """The metrics in the order of the table."""

    def __init__(self, merged: Mapping[Metric, Series]) -> None:
        self._merged = merged

    def collect(self) -> Iterator["Family"]:
        for metric in table.METRICS.values():
            if metric in self._merged:
                yield _family(metric, self._merged[metric])


def _family(metric: Metric, series: Series) -> "Family":
    from prometheus_client.metrics_core import (  # noqa: PLC0415 - see `expose`
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, values in sorted(series.items()):
            histogram.add_metric(labels, _cumulative(metric.buckets, values), values[-1])
        return histogram
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, values in sorted(series.items()):
        family.add_metric(labels, values[0])
    return family


def _cumulative(bounds: tuple[float, ...], values: tuple[float, ...]) -> list[tuple[str, float]]:
    """The buckets as Prometheus has them: each counts what the smaller ones count, too."""
    total = 0.0
    buckets = []
    for bound, value in zip((*map(str, bounds), "+Inf"), values[:-1], strict=True):
        total += value
        buckets.append((bound, total))
    return buckets
