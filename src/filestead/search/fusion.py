"""Reciprocal rank fusion: one ranking of several, by ranks alone, so that their scores need not be comparable.

Cormack, Clarke and Buettcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods
(SIGIR 2009).
"""

from collections.abc import Hashable, Sequence
from typing import Any, Protocol, TypeVar

RANK_CONSTANT = 60
"""The constant of the paper: how slowly the weight of a rank falls."""

HYBRID_RANK_CONSTANT = 30
DENSE_WEIGHT = 0.4
"""Of the ranking by vectors beside that by keywords. Both were chosen on the Cranfield collection, see docs."""


class _Ordered(Hashable, Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


Key = TypeVar("Key", bound=_Ordered)


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Key]], weights: Sequence[float] | None = None, k: float = RANK_CONSTANT
) -> list[tuple[Key, float]]:
    """Fuse rankings. A key that is at rank r (from 1) of a ranking with weight w receives w / (k + r) from it.

    The caller filters each ranking before, so that what is not visible takes no rank.

    Args:
        rankings: for each ranking, its keys without repetition, best first. Keys that are lower than a ranking is
            long count as not found, so all rankings should have the same depth.
        weights: one for each ranking, above 0; 1 for all if omitted.
        k: above 0.

    Returns:
        Keys with scores in descending order, equal scores in ascending order of the keys. A score is the share of the
        best attainable sum: 1 for a key that is first in every ranking.
    """
    weights = [1.0] * len(rankings) if weights is None else weights
    sums: dict[Key, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, key in enumerate(ranking, 1):
            sums[key] = sums.get(key, 0.0) + weight / (k + rank)
    best = sum(weight / (k + 1) for weight in weights)
    ordered = sorted(sums)
    ordered.sort(key=sums.__getitem__, reverse=True)
    return [(key, min(1.0, sums[key] / best)) for key in ordered]


def hybrid(keyword: Sequence[Key], dense: Sequence[Key]) -> list[tuple[Key, float]]:
    """Fuse the ranking by keywords with that by vectors: 0.71 for what is first by keywords alone, 1 if by both."""
    return reciprocal_rank_fusion([keyword, dense], [1.0, DENSE_WEIGHT], HYBRID_RANK_CONSTANT)
