"""The controller of concurrency: rules one by one, and its figures against simulated servers in virtual time."""

import functools
import math

import pytest

from filestead.inference.cohorts import Outcome
from filestead.inference.limiter import CEILING, START, Limiter, Load
from tests.support.model_server.physics import Machine
from tests.support.model_server.simulation import Clock, Fixed, Record, requests, simulate

SEEDS = range(12)
SECONDS = 240.0
SETTLED = 30.0
BEST = 16
QUEUE = Machine(knee=math.inf, slots=BEST)
MACHINES = {"knee": Machine(knee=BEST), "overload": Machine(knee=BEST, overload=0.15), "queue": QUEUE}


def run(machine: Machine, seed: int, seconds: float = SECONDS, *, usage: bool = True) -> Record:
    clock = Clock()
    return simulate(machine, Limiter(clock), clock, requests(seed), seconds, usage=usage)


@functools.cache
def fixed(machine: Machine, limit: int, seed: int) -> Record:
    clock = Clock()
    return simulate(machine, Fixed(limit), clock, requests(seed), SECONDS)


def best_goodput(machine: Machine, seed: int) -> float:
    return max(fixed(machine, limit, seed).goodput(SETTLED, SECONDS) for limit in range(12, 25, 2))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_whose_best_parallelism_is_16(name: str, seed: int) -> None:
    machine = MACHINES[name]
    record = run(machine, seed)
    limits = record.limits_since(SETTLED)
    assert 12 <= min(limits) <= max(limits) <= 24
    assert record.goodput(SETTLED, SECONDS) >= 0.95 * best_goodput(machine, seed)
    assert record.time_per_token(0.95) <= 1.5 * fixed(machine, BEST, seed).time_per_token(0.95)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_that_reports_no_usage(seed: int) -> None:
    record = run(Machine(knee=BEST), seed, usage=False)
    assert max(record.limits_since(60)) <= 28
    assert record.goodput(60, SECONDS) >= 0.9 * best_goodput(Machine(knee=BEST), seed)


@pytest.mark.parametrize("knee", [1, 3, 6, 50, 100])
def test_servers_of_other_sizes(knee: int) -> None:
    machine = Machine(knee=knee)
    for seed in range(4):
        record = run(machine, seed)
        best = fixed(machine, 2 * knee, seed).goodput(60, SECONDS)
        assert record.goodput(60, SECONDS) >= 0.88 * best
        assert sum(record.limits_since(60)) / len(record.limits_since(60)) <= max(2 * knee, 6)


def test_a_server_without_a_knee_is_used_up_to_the_ceiling() -> None:
    record = run(Machine(knee=math.inf), 0)
    assert max(record.limits_since(0)) == CEILING
    assert min(record.limits_since(60)) > CEILING // 2


@pytest.mark.parametrize("seed", range(4))
def test_a_server_that_refuses_beyond_16(seed: int) -> None:
    machine = Machine(knee=math.inf, refuse_beyond=BEST)
    record = run(machine, seed)
    assert max(record.limits_since(SETTLED)) <= 24
    assert record.refused <= 0.07 * len(record.finished)
    assert record.goodput(SETTLED, SECONDS) >= 0.8 * fixed(machine, BEST, seed).goodput(SETTLED, SECONDS)


@pytest.mark.parametrize(("before", "after"), [(16, 8), (40, 16), (16, 40)])
def test_a_server_that_becomes_slower_or_faster(before: int, after: int) -> None:
    for seed in range(4):
        clock = Clock()
        change = (120.0, Machine(knee=after))
        record = simulate(Machine(knee=before), Limiter(clock), clock, requests(seed), 360, change=change)
        limits = record.limits_since(260)
        assert 0.6 * after <= sum(limits) / len(limits) <= 1.8 * after


def lane(ceiling: int = 256, limit: int | None = None) -> tuple[Limiter, Clock]:
    clock = Clock()
    limiter = Limiter(clock, ceiling=ceiling)
    while limit is not None and limiter.limit < limit:
        cohort(limiter, clock)
    return limiter, clock


def cohort(limiter: Limiter, clock: Clock, *, tpt: float = 0.01, overloaded: float = 0.0, failed: float = 0.0) -> None:
    """Requests until the limiter has decided once; the shares of overload and failures are exact."""
    before, rounds = limiter._cohort, 0
    while limiter._cohort is before:
        rounds += 1
        assert rounds < 200, "no decision"
        taken = 0
        while limiter.try_acquire():
            taken += 1
        clock.now += 100 * tpt
        for n in range(taken):
            if limiter._cohort is not before:
                limiter.give_back()
                continue
            is_overloaded, is_failed = n < overloaded * taken, n < failed * taken
            tokens = 0 if is_overloaded or is_failed else 100
            limiter.release(Outcome(100 * tpt, tokens, is_overloaded, is_failed))
    assert limiter.in_flight == 0


def test_it_starts_at_4_and_doubles() -> None:
    limiter, clock = lane()
    seen = [limiter.limit]
    for _ in range(5):
        cohort(limiter, clock)
        seen.append(limiter.limit)
    assert seen == [START, 8, 16, 32, 64, 128]


@pytest.mark.parametrize("ceiling", [1, 2, 4, 6, 100])
def test_a_ceiling(ceiling: int) -> None:
    limiter, clock = lane(ceiling)
    for _ in range(12):
        assert 1 <= limiter.limit <= ceiling
        cohort(limiter, clock)
    assert limiter.limit >= ceiling * 0.8


def test_a_burst_of_failures_by_overload_shrinks_once() -> None:
    limiter, clock = lane(limit=32)
    for _ in range(32):
        assert limiter.try_acquire()
    clock.now += 1
    for _ in range(32):
        limiter.release(Outcome(0.5, overloaded=True))
    cohort(limiter, clock, overloaded=0.2)
    assert limiter.limit == int(0.7 * 32)


@pytest.mark.parametrize(("share", "limit"), [(0.03, 31), (0.5, 22), (1.0, 22)])
def test_overload_decides_by_its_share(share: float, limit: int) -> None:
    limiter, clock = lane(limit=32)
    cohort(limiter, clock, overloaded=share)
    assert limiter.limit == limit


def test_it_never_shrinks_to_nothing() -> None:
    limiter, clock = lane()
    for _ in range(10):
        cohort(limiter, clock, overloaded=1.0)
    assert limiter.limit == 1
    assert limiter.try_acquire()


def test_a_limit_that_was_refused_is_avoided_for_a_time() -> None:
    limiter, clock = lane(limit=32)
    cohort(limiter, clock, overloaded=0.2)
    began = clock.now
    while clock.now < began + 50:
        cohort(limiter, clock)
        assert limiter.limit < 32


def test_other_failures_do_not_shrink() -> None:
    limiter, clock = lane(limit=16)
    cohort(limiter, clock, failed=0.5)
    assert limiter.limit == 32


def test_too_few_requests_say_nothing() -> None:
    limiter, clock = lane()
    for _ in range(50):
        assert limiter.try_acquire()
        clock.now += 1
        limiter.release(Outcome(1.0, 100))
    assert limiter.limit == START


def test_a_sudden_rise_of_the_time_per_token_shrinks() -> None:
    limiter, clock = lane(limit=32)
    cohort(limiter, clock, tpt=0.02)  # no more goodput than with 16
    assert limiter.limit == 16
    cohort(limiter, clock)
    limit = limiter.limit
    cohort(limiter, clock, tpt=0.018)
    assert limiter.limit <= 0.75 * limit


def test_a_queue_that_the_metrics_show_ends_the_growth() -> None:
    limiter, clock = lane(limit=16)
    limiter.observe(Load(running=14, waiting=2))
    cohort(limiter, clock)
    assert limiter.limit <= 16
    for _ in range(20):
        limiter.observe(Load(running=14, waiting=2))
        cohort(limiter, clock)
        assert limiter.limit <= 20
    limiter, clock = lane(limit=16)
    limiter.observe(Load(running=16, waiting=1))
    cohort(limiter, clock)
    assert limiter.limit == 32


@pytest.mark.parametrize(("ceiling", "base"), [(256, 16), (10, 10)])
def test_requests_that_are_very_short_are_never_held_up(ceiling: int, base: int) -> None:
    limiter, clock = lane(ceiling)
    cohort(limiter, clock, tpt=0.0001)
    cohort(limiter, clock, tpt=0.0002)  # no more goodput
    for _ in range(60):
        cohort(limiter, clock, tpt=0.00002 * limiter.limit)
        assert limiter.limit >= base
    cohort(limiter, clock, tpt=0.0001, overloaded=0.2)
    assert limiter.limit < base


def test_a_full_cache_shrinks() -> None:
    limiter, clock = lane(limit=20)
    limiter.observe(Load(cache=0.96))
    cohort(limiter, clock)
    assert limiter.limit == int(0.8 * 32)


def test_old_metrics_do_not_count() -> None:
    limiter, clock = lane(limit=16)
    limiter.observe(Load(running=1, waiting=50, cache=0.99))
    clock.now += 60
    cohort(limiter, clock)
    assert limiter.limit == 32


def test_a_pause() -> None:
    limiter, clock = lane()
    limiter.pause_until(2.0)
    limiter.pause_until(1.0)
    assert limiter.seconds_to_wait() == 2.0
    assert not limiter.try_acquire()
    clock.now = 2.0
    assert limiter.seconds_to_wait() == 0
    assert limiter.try_acquire()


def test_bytes_in_flight() -> None:
    limiter = Limiter(Clock(), max_bytes=100)
    assert limiter.try_acquire(1000)  # one is never too large
    assert not limiter.try_acquire(1)
    limiter.release(Outcome(1.0, 1, size=1000))
    assert limiter.try_acquire(60) and limiter.try_acquire(30) and not limiter.try_acquire(41)
    assert not limiter.has_room() and not limiter.try_acquire(10)  # which would let the larger one wait for ever
    limiter.give_back(30)
    assert not limiter.has_room()
    limiter.give_back(60)
    assert limiter.has_room() and limiter.try_acquire(41) and limiter.try_acquire(59)
    assert limiter.in_flight == 2
