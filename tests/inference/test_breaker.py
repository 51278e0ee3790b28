"""When requests stop, and when they start again."""

import pytest

from filestead.inference.breaker import Breaker, Pause, Refusals, Verdict
from tests.support.model_server.simulation import Clock

NOW = 1_800_000_000.0


def test_five_in_a_row_open_it() -> None:
    breaker = Breaker(Clock(), lambda: NOW)
    for reason in ("a", "b", "c", "d"):
        assert not breaker.record_unreachable(reason)
    breaker.record_reached()
    for reason in ("a", "b", "c", "d"):
        assert not breaker.record_unreachable(reason)
    assert not breaker.is_open and breaker.describe() is None
    assert breaker.record_unreachable("connection refused")
    assert breaker.is_open and breaker.describe() == "it cannot be reached: connection refused"
    assert breaker.pause.since == NOW
    assert not breaker.record_unreachable("again")
    assert breaker.record_reached()
    assert not breaker.is_open


def test_probes_come_after_1_to_60_seconds() -> None:
    clock = Clock()
    pause = Pause(clock, lambda: NOW)
    assert pause.seconds_to_probe() == float("inf")
    pause.begin("x")
    intervals = []
    for _ in range(9):
        intervals.append(pause.seconds_to_probe())
        clock.now += intervals[-1]
        assert pause.seconds_to_probe() == 0
        assert not pause.probed(Verdict.FAILED)
    assert intervals == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pause.probed(Verdict.PASSED)
    assert pause.seconds_to_probe() == float("inf")
    assert not pause.probed(Verdict.PASSED)


def test_intervals_begin_anew_only_when_requests_succeed() -> None:
    clock = Clock()
    refusals = Refusals(clock, lambda: NOW)

    def pause() -> float:
        assert [refusals.record_refused(401, "key") for _ in range(3)] == [False, False, True]
        return refusals.pause.seconds_to_probe()

    assert pause() == 1
    assert refusals.probed(Verdict.PASSED)
    assert pause() == 2  # the probe passed, and the key was refused again
    assert refusals.probed(Verdict.PASSED)
    refusals.record_accepted()
    assert pause() == 1


def test_three_equal_refusals_in_a_row() -> None:
    refusals = Refusals(Clock(), lambda: NOW)
    statuses = [401, 401, 403, 403, 401, 404, 404]
    assert not any(refusals.record_refused(status, "why") for status in statuses)
    refusals.record_accepted()
    assert not refusals.record_refused(404, "why")
    assert not refusals.record_refused(404, "why")
    assert not refusals.is_paused
    assert refusals.record_refused(404, "why")
    assert refusals.is_paused and refusals.describe() == "why"
    assert not refusals.record_refused(404, "why")


def test_a_request_that_is_refused_while_others_are_accepted() -> None:
    refusals = Refusals(Clock(), lambda: NOW)
    assert not any(refusals.concerns_request("a") for _ in range(5)), "it may be the key"
    refusals.record_accepted()
    assert not any(refusals.concerns_request("b") for _ in range(5)), "the key may have become invalid since"
    assert refusals.concerns_request("a")
    refusals.forget_request("b")
    refusals.record_accepted()
    assert [refusals.concerns_request("b") for _ in range(3)] == [False, False, False]
    refusals.record_accepted()
    assert refusals.concerns_request("b")


@pytest.mark.parametrize("probes", [6])
def test_what_a_probe_cannot_tell_is_tried_in_the_end(probes: int) -> None:
    refusals = Refusals(Clock(), lambda: NOW)
    for _ in range(3):
        refusals.record_refused(404, "why")
    assert [refusals.probed(Verdict.UNKNOWN) for _ in range(probes)] == [False] * probes
    assert refusals.probed(Verdict.UNKNOWN)
    assert not refusals.is_paused
