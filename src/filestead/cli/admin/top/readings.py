"""Readings of `/metrics`, and what two of them say of the time between: rates and quantiles."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from filestead.metrics.table import PREFIX

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """The samples of one moment, by name and labels; `at` in seconds of a monotonic clock."""

    at: float
    samples: Mapping[tuple[str, Labels], float]

    @classmethod
    def parse(cls, text: str, at: float) -> "Reading":
        """Parse Prometheus text. Raises `ValueError`."""
        families = text_string_to_metric_families(text)
        samples = itertools.chain.from_iterable(family.samples for family in families)
        return cls(at, {(each.name, tuple(sorted(each.labels.items()))): each.value for each in samples})

    def series(self, name: str, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        """Yield the labels and the value of each series of a metric that has these labels."""
        for (found, pairs), value in self.samples.items():
            own = dict(pairs)
            if found == PREFIX + name and labels.items() <= own.items():
                yield own, value

    def total(self, name: str, **labels: str) -> float:
        """The sum of those series."""
        return sum(value for _, value in self.series(name, **labels))


@dataclass(frozen=True, slots=True)
class Change:
    """What has happened between two readings. Counters that began anew with the server count from zero."""

    before: Reading
    now: Reading

    @property
    def seconds(self) -> float:
        """The time between them."""
        return max(self.now.at - self.before.at, 1e-3)

    def increase(self, name: str, **labels: str) -> float:
        """The increase of a counter."""
        return sum(value for _, value in self._increases(name, labels))

    def rate(self, name: str, **labels: str) -> float:
        """The increase a second."""
        return self.increase(name, **labels) / self.seconds

    def rates_by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The rates of a counter by the value of a label, without those that are zero; the highest first."""
        rates: dict[str, float] = {}
        for own, value in self._increases(name, labels):
            rates[own[label]] = rates.get(own[label], 0.0) + value / self.seconds
        return dict(sorted(((key, rate) for key, rate in rates.items() if rate), key=lambda item: (-item[1], item[0])))

    def quantile(self, share: float, name: str, **labels: str) -> float | None:
        """The value below which that share of the observations lies, in seconds; None without observations.

        Interpolated within its bucket as Prometheus does; above the last bucket, that bucket's bound.
        """
        buckets: dict[float, float] = {}
        for own, value in self._increases(f"{name}_seconds_bucket", labels):
            bound = float(own["le"])
            buckets[bound] = buckets.get(bound, 0.0) + value
        bounds = sorted(buckets)
        if not bounds or not buckets[bounds[-1]]:
            return None
        rank = share * buckets[bounds[-1]]
        lower = below = 0.0
        for bound in bounds[:-1]:
            if buckets[bound] >= rank:
                return lower + (bound - lower) * (rank - below) / (buckets[bound] - below)
            lower, below = bound, buckets[bound]
        return lower

    def _increases(self, name: str, labels: Mapping[str, str]) -> Iterator[tuple[dict[str, str], float]]:
        for own, value in self.now.series(name, **labels):
            earlier = self.before.samples.get((PREFIX + name, tuple(sorted(own.items()))), 0.0)
            yield own, value - earlier if value >= earlier else value
