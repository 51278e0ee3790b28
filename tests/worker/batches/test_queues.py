"""The order of lines: leaders before followers, urgent batches first, equal shares of projects."""

from collections import Counter, OrderedDict
from itertools import accumulate

from filestead.worker.batches.fair_queue import FairQueue
from filestead.worker.batches.line_queue import HOLD_SECONDS, LineQueue


def queue_of(
    groups: list[int], *, project: str = "p", expires_at: float = 86_400, cost: int = 100, first: int = 0
) -> LineQueue:
    """A queue with groups of these sizes."""
    positions = range(first, first + sum(groups))
    starts = [0, *accumulate(groups)][: len(groups)]
    return LineQueue(project, expires_at, positions, starts, [cost] * (first + sum(groups)))


def take_all(queue: LineQueue | FairQueue, now: float = 0.0, in_flight: int = 0) -> list[int]:
    found = []
    while (taken := queue.take(now, in_flight + len(found))) is not None:
        found.append(taken if isinstance(taken, int) else taken[1])
    return found


def test_followers_wait_for_their_leader() -> None:
    queue = queue_of([100])
    assert take_all(queue) == [0]
    assert queue.next_change(0.0) == HOLD_SECONDS
    queue.answered(0)
    assert queue.next_change(0.0) is None
    assert take_all(queue) == list(range(1, 100))


def test_followers_wait_no_longer_than_a_second() -> None:
    queue = queue_of([100])
    assert take_all(queue) == [0]
    assert take_all(queue, now=0.99) == []
    assert take_all(queue, now=1.0) == list(range(1, 100))


def test_the_next_leader_goes_before_the_last_followers() -> None:
    queue = queue_of([40, 40])
    assert take_all(queue) == [0]
    queue.answered(0)
    found = take_all(queue)
    assert found[:23] == list(range(1, 24))
    assert found[23] == 40, "16 followers are left"
    assert found[24:] == list(range(24, 40))
    queue.answered(40)
    assert take_all(queue) == list(range(41, 80))


def test_small_groups_do_not_wait_for_one_another() -> None:
    queue = queue_of([2] * 100)
    leaders = [queue.take(0.0, in_flight) for in_flight in range(60)]
    assert leaders == list(range(0, 120, 2))


def test_lines_without_a_shared_prefix_do_not_wait() -> None:
    assert take_all(queue_of([1] * 500)) == list(range(500))


def test_a_line_that_is_put_back_comes_next_or_when_it_is_due() -> None:
    queue = queue_of([1, 1, 1])
    assert queue.take(0.0, 0) == 0
    assert queue.take(0.0, 0) == 1
    queue.put_back(1)
    queue.put_back(0, due=5.0)
    assert take_all(queue) == [1, 2]
    assert queue.next_change(0.0) == 5.0
    assert take_all(queue, now=5.0) == [0]
    assert queue.tokens == 0


def test_nothing_is_taken_from_a_paused_queue() -> None:
    queue = queue_of([1])
    queue.paused = True
    assert queue.take(0.0, 0) is None
    queue.paused = False
    assert queue.take(0.0, 0) == 0


def test_case_34_ten_prefixes_in_a_cache_of_two() -> None:
    """Sixteen lines in flight; each takes one step, and its prefix is cached when it ends."""
    queue = queue_of([100] * 10)
    cache: OrderedDict[int, None] = OrderedDict()
    hits = sent = 0
    in_flight: list[int] = []
    now = 0.0
    while sent < 1_000:
        while len(in_flight) < 16 and (position := queue.take(now, len(in_flight))) is not None:
            prefix = position // 100
            hits += prefix in cache
            if prefix in cache:
                cache.move_to_end(prefix)
            sent += 1
            in_flight.append(position)
        for position in in_flight:
            cache[position // 100] = None
            cache.move_to_end(position // 100)
            while len(cache) > 2:
                cache.popitem(last=False)
            queue.answered(position)
        in_flight.clear()
        now += 0.3
    assert hits / 1_000 >= 0.95


def test_projects_share_tokens_whatever_the_number_of_their_batches() -> None:
    queue = FairQueue()
    for first in (0, 1_000, 2_000):
        queue.add(queue_of([1] * 1_000, project="many", first=first, cost=100))
    queue.add(queue_of([1] * 1_000, project="long lines", first=3_000, cost=300))
    taken = [queue.take(0.0, 0) for _ in range(400)]
    tokens: Counter[str] = Counter()
    for found in taken:
        assert found is not None
        tokens[found[0].project_id] += found[0].cost(found[1])
    assert abs(tokens["many"] - tokens["long lines"]) <= 300, tokens


def test_a_project_that_comes_later_has_no_claim_to_the_past() -> None:
    queue = FairQueue()
    queue.add(queue_of([1] * 10_000, project="early"))
    for _ in range(5_000):
        assert queue.take(0.0, 0) is not None
    late = queue_of([1] * 100, project="late", first=10_000)
    queue.add(late)
    taken = [queue.take(0.0, 0) for _ in range(100)]
    counts = Counter(found[0].project_id for found in taken if found)
    assert abs(counts["early"] - counts["late"]) <= 2, counts


def test_a_line_that_could_not_be_sent_costs_nothing() -> None:
    queue = FairQueue()
    queue.add(queue_of([1] * 100, project="a"))
    queue.add(queue_of([1] * 100, project="b", first=100))
    for _ in range(50):
        taken = queue.take(0.0, 0)
        assert taken is not None
        queue.put_back(*taken)
    counts: Counter[str] = Counter()
    for _ in range(100):
        taken = queue.take(0.0, 0)
        assert taken is not None
        counts[taken[0].project_id] += 1
    assert counts["a"] == counts["b"]


def test_the_earliest_end_comes_first_and_small_batches_are_moved_up() -> None:
    queue = FairQueue()
    large = queue_of([1] * 20_000, expires_at=86_400, cost=1_000)
    urgent = queue_of([1] * 20_000, expires_at=80_000, cost=1_000, first=20_000)
    small = queue_of([1] * 10, expires_at=90_000, cost=1_000, first=40_000)
    for one in (large, urgent, small):
        queue.add(one)
    taken = [queue.take(0.0, 0) for _ in range(12)]
    assert [found[0] for found in taken if found] == [small] * 10 + [urgent] * 2


def test_a_removed_queue_gives_no_lines() -> None:
    queue = FairQueue()
    one = queue_of([1] * 10)
    queue.add(one)
    queue.remove(one)
    assert queue.take(0.0, 0) is None
    assert len(queue) == 0
