"""The order in which the lines of a batch run, so that a prefix cache is used while it is warm.

Lines with a common beginning of the prompt follow one another. The first line of a group is its leader: it fills the
cache for the others, which should wait for it. Results are written as they finish, so any order is allowed.
"""

from array import array
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from itertools import pairwise

from filestead.domain.batches.line_index import PREFIXES, LineIndex

DEFAULT_OUTPUT = 1024
"""Output tokens that are assumed of a request that states no maximum."""
_MANY = 4
"""Lines that make a part of a group a group of its own."""


class OrderMode(StrEnum):
    """`FILESTEAD_BATCH_ORDER`."""

    PREFIX = "prefix"
    INPUT = "input"


class LineOrder:
    """Positions of a `LineIndex` in the order to run, with their groups."""

    def __init__(self, positions: "array[int]", groups: "array[int]") -> None:
        self.positions = positions
        self.groups = groups
        """The number of each line's group, parallel to `positions`. A group is consecutive."""

    def __len__(self) -> int:
        return len(self.positions)

    def is_leader(self, place: int) -> bool:
        """Whether the line at this place is the first of its group."""
        return place == 0 or self.groups[place] != self.groups[place - 1]

    def has_followers(self, place: int) -> bool:
        """Whether the next line belongs to the same group: then a leader fills the cache for others."""
        return place + 1 < len(self.groups) and self.groups[place + 1] == self.groups[place]


def order_lines(
    index: LineIndex, endpoint: str, mode: OrderMode = OrderMode.PREFIX, *, is_done: Callable[[int], bool] | None = None
) -> LineOrder:
    """The order of all lines but those that are done; `is_done` is asked with their numbers in the file."""
    positions = [position for position in range(len(index)) if is_done is None or not is_done(index.numbers[position])]
    if mode is OrderMode.INPUT:
        return _ungrouped(positions)
    if endpoint == "/v1/embeddings":
        # The texts of one step of the model then have about the same length. The longest come first.
        positions.sort(key=lambda position: (index.model_numbers[position], -index.prompt_bytes[position]))
        return _ungrouped(positions)
    return _by_prefix(index, positions)


def _ungrouped(positions: list[int]) -> LineOrder:
    return LineOrder(array("I", positions), array("I", range(len(positions))))


def _by_prefix(index: LineIndex, positions: list[int]) -> LineOrder:
    """Sort by the least significant criterion first; each sort keeps the order of equal lines."""
    outputs = index.outputs
    positions.sort(key=lambda position: -(outputs[position] or DEFAULT_OUTPUT))
    shared = _shared_bytes(index, positions)
    for level in reversed(range(len(PREFIXES))):
        ranks = _ranks(index, level, positions, shared)
        last = len(ranks)
        keys = index.keys[level]
        positions.sort(key=lambda position: ranks.get(keys[position], last))
    groups = array("I")
    _number_groups(index, positions, (0, len(positions)), 0, groups)
    return LineOrder(array("I", positions), groups)


def _shared_bytes(index: LineIndex, positions: list[int]) -> "array[int]":
    """Bytes of the longest prefix that each line shares with another one, by position."""
    shared = array("I", bytes(4 * len(index)))
    for level, size in enumerate(PREFIXES):
        keys = index.keys[level]
        counts = Counter(keys[position] for position in positions)
        for position in positions:
            if counts[keys[position]] > 1:
                shared[position] = min(size, index.prompt_bytes[position])
    return shared


def _ranks(index: LineIndex, level: int, positions: list[int], shared: "array[int]") -> dict[int, int]:
    """Ranks of the prefixes that several lines share: by the bytes that these share, then as they appear."""
    keys = index.keys[level]
    counts = Counter(keys[position] for position in positions)
    weights: dict[int, int] = {}
    for position in sorted(positions):
        key = keys[position]
        if counts[key] > 1:
            weights[key] = weights.get(key, 0) + shared[position]
    return {key: rank for rank, key in enumerate(sorted(weights, key=lambda key: -weights[key]))}


def _number_groups(
    index: LineIndex, positions: list[int], span: tuple[int, int], level: int, groups: "array[int]"
) -> None:
    """Append the group numbers of a span of the sorted lines, which share the prefix before this level.

    Parts with many lines are groups of their own, or are divided further. Small ones beside one another are a group
    by the prefix that they share.
    """
    joins = False
    for start, end in _parts(index, positions, span, level):
        if end - start >= _MANY and level + 1 < len(PREFIXES):
            _number_groups(index, positions, (start, end), level + 1, groups)
            joins = False
            continue
        small = end - start < _MANY
        number = len(groups) and groups[-1] + (0 if joins and small else 1)
        groups.extend([number] * (end - start))
        joins = small and level > 0


def _parts(index: LineIndex, positions: list[int], span: tuple[int, int], level: int) -> list[tuple[int, int]]:
    """The parts of a span that share the prefix of this level."""
    keys = index.keys[level]
    start, end = span
    cuts = [place for place in range(start + 1, end) if keys[positions[place]] != keys[positions[place - 1]]]
    return list(pairwise([start, *cuts, end])) if start < end else []
