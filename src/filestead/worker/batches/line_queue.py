"""The lines of one batch for one model that wait to be sent, in an order that keeps shared prefixes cached.

The first line of a group with a shared prefix, its leader, is sent alone: the others would all compute the prefix at
the same time. They follow when it has a response, or after a second.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

HOLD_SECONDS = 1.0
LOOKAHEAD = 16
"""While a group has more lines than this, no other group begins, so that a small cache keeps its prefix."""


@dataclass(slots=True)
class _Group:
    """A group that has begun: its lines from `next` to `end` wait."""

    leader: int
    next: int
    end: int
    cold: bool = True
    """The leader has no response yet."""
    held_until: float = 0.0

    def left(self) -> int:
        return self.end - self.next

    def is_held(self, now: float) -> bool:
        return self.cold and now < self.held_until


class LineQueue:
    """Lines by their position in the index. Times are of one monotonic clock."""

    def __init__(
        self,
        project_id: str,
        expires_at: float,
        positions: Sequence[int],
        starts: Sequence[int],
        costs: Sequence[int],
    ) -> None:
        """`positions` in their order; `starts` are the indexes in it at which groups begin.

        `costs` are the expected tokens of each line of the index, by position.
        """
        self.project_id = project_id
        self.expires_at = expires_at
        self.paused = False
        """Nothing is taken while it is set: its results cannot be stored now."""
        self.tokens = sum(costs[position] for position in positions)
        """Expected tokens of the lines that wait."""
        self._positions = positions
        self._starts = starts
        self._costs = costs
        self._next_group = 0
        self._open: dict[int, _Group] = {}
        self._returned: deque[int] = deque()
        self._delayed: list[tuple[float, int]] = []

    def cost(self, position: int) -> int:
        """The expected tokens of a line."""
        return self._costs[position]

    def take(self, now: float, in_flight: int) -> int | None:
        """Remove and return the line to send next; None if there is none now. `in_flight` lines are sent already."""
        if self.paused:
            return None
        position = self._take(now, in_flight)
        if position is not None:
            self.tokens -= self._costs[position]
        return position

    def put_back(self, position: int, due: float | None = None) -> None:
        """Return a line that was taken: it comes next, or not before `due`."""
        self.tokens += self._costs[position]
        if due is None:
            self._returned.append(position)
        else:
            heapq.heappush(self._delayed, (due, position))

    def answered(self, position: int) -> None:
        """Note that the line has a response, and that its prefix is in the cache therefore."""
        if (group := self._open.get(position)) is not None:
            group.cold = False
            if not group.left():
                del self._open[position]

    def next_change(self, now: float) -> float | None:
        """When lines become due that `take` does not return now; None if that is not a matter of time."""
        if self.paused:
            return None
        times = [group.held_until for group in self._open.values() if group.left() and group.is_held(now)]
        if self._delayed:
            times.append(self._delayed[0][0])
        return min(times, default=None)

    def _take(self, now: float, in_flight: int) -> int | None:
        if self._returned:
            position = self._returned.popleft()
            if (group := self._open.get(position)) is not None:
                group.held_until = now + HOLD_SECONDS
            return position
        if self._delayed and self._delayed[0][0] <= now:
            return heapq.heappop(self._delayed)[1]
        waiting = 0
        follower = None
        for group in self._open.values():
            left = group.left()
            waiting += left
            if follower is None and left and not group.is_held(now):
                follower = group
        # The next leader is sent before the last followers: its prefix is cached when its own followers come.
        if follower is None:
            may_begin = waiting <= max(LOOKAHEAD, in_flight)
        else:
            may_begin = waiting <= LOOKAHEAD and len(self._open) == 1
        if may_begin and self._next_group < len(self._starts):
            return self._begin_group(now)
        return None if follower is None else self._follow(follower)

    def _begin_group(self, now: float) -> int:
        start = self._starts[self._next_group]
        self._next_group += 1
        more = self._next_group < len(self._starts)
        end = self._starts[self._next_group] if more else len(self._positions)
        position = self._positions[start]
        if end > start + 1:
            self._open[position] = _Group(position, start + 1, end, held_until=now + HOLD_SECONDS)
        return position

    def _follow(self, group: _Group) -> int:
        position = self._positions[group.next]
        group.next += 1
        if not group.left():
            del self._open[group.leader]
        return position
