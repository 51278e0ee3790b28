"""Which failures are final, and when the others are tried again."""

import pytest

from filestead.inference.exchanges import Exchange, Kind
from filestead.worker.batches.pacing import Attempts, delay_before_retry


def exchange(kind: Kind, retry_after: float | None = None) -> Exchange:
    return Exchange(kind, None, "it failed", retry_after, 0.1)


def latest(low: float, high: float) -> float:
    return high


def delays(kind: Kind, attempts: int) -> list[float | None]:
    state = Attempts()
    return [delay_before_retry(state, exchange(kind), uniform=latest) for _ in range(attempts)]


def test_five_attempts_with_growing_delays() -> None:
    assert delays("retry", 5) == [1.0, 2.0, 4.0, 8.0, None]


def test_two_attempts_if_there_is_no_response_in_time() -> None:
    assert delays("timeout", 2) == [1.0, None]


@pytest.mark.parametrize("kind", ["ok", "final"])
def test_a_response_is_final(kind: Kind) -> None:
    assert delays(kind, 1) == [None]


def test_a_line_that_is_refused_again_and_again_lets_others_go_first() -> None:
    attempts = Attempts()
    refused = exchange("busy")
    found = [delay_before_retry(attempts, refused, others_wait=True) or 0.0 for _ in range(40)]
    assert found[:2] == [0.0, 0.0]
    assert found[2:] == sorted(found[2:])
    assert (found[2], found[3], found[-1]) == (0.5, 1.0, 60.0)
    asked = exchange("busy", 100.0)
    assert delay_before_retry(attempts, asked, others_wait=True) == 200.0
    assert delay_before_retry(attempts, asked) == 0.0, "alone, it goes as soon as its lane is ready"


@pytest.mark.parametrize(("kind", "seconds"), [("busy", 0.0), ("unreachable", 0.0), ("refused", 1.0)])
def test_case_28_an_endpoint_that_takes_no_requests_costs_no_attempt(kind: Kind, seconds: float) -> None:
    state = Attempts()
    for _ in range(50):
        assert delay_before_retry(state, exchange(kind)) == seconds
    assert (state.failures, state.timeouts) == (0, 0)


def test_jitter_begins_at_zero_and_a_wait_that_was_asked_for_is_a_minimum() -> None:
    ranges: list[tuple[float, float]] = []

    def earliest(low: float, high: float) -> float:
        ranges.append((low, high))
        return low

    assert delay_before_retry(Attempts(), exchange("retry"), uniform=earliest) == 0.0
    assert delay_before_retry(Attempts(), exchange("retry", 7.5), uniform=earliest) == 7.5
    assert ranges == [(0, 1.0), (0, 1.0)]
