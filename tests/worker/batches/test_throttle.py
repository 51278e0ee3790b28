"""How lines give way to requests, with a clock in the test's hand."""

import pytest

from filestead.worker.batches.throttle import LINGER_SECONDS, LONG_SECONDS, TURN_LINES, TURN_SECONDS, Throttle

LINES_PER_SECOND = TURN_LINES / TURN_SECONDS


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def lines_within(throttle: Throttle, clock: Clock, seconds: float) -> int:
    """How many lines are sent by a dispatcher that looks every millisecond and sends at most 100 each time."""
    sent = 0
    for _ in range(round(seconds * 1_000)):
        for _ in range(100):
            if not throttle.seconds_to_line():
                throttle.count_line()
                sent += 1
        clock.now += 0.001
    return sent


def test_without_requests_every_line_is_allowed(throttle: Throttle, clock: Clock) -> None:
    assert lines_within(throttle, clock, 0.1) == 10_000


def test_while_requests_are_served_lines_have_a_rate(throttle: Throttle, clock: Clock) -> None:
    lines_within(throttle, clock, 0.1)
    sent = 0
    for _ in range(20):  # one after the other
        with throttle.request():
            sent += lines_within(throttle, clock, 0.048)
        sent += lines_within(throttle, clock, 0.002)
    assert sent == pytest.approx(LINES_PER_SECOND, rel=0.1)


def test_lines_are_sent_in_turns(throttle: Throttle, clock: Clock) -> None:
    with throttle.request():
        assert throttle.is_busy()
        assert lines_within(throttle, clock, 0.001) == TURN_LINES
        assert throttle.seconds_to_line() == pytest.approx(TURN_SECONDS - 0.001)
        assert lines_within(throttle, clock, 0.01) == 0
        clock.now += TURN_SECONDS
        assert lines_within(throttle, clock, 0.001) == TURN_LINES


def test_the_rate_ends_soon_after_the_last_request(throttle: Throttle, clock: Clock) -> None:
    with throttle.request():
        clock.now += 0.01
    assert lines_within(throttle, clock, LINGER_SECONDS) <= TURN_LINES
    clock.now += 0.001
    assert not throttle.is_busy()
    assert lines_within(throttle, clock, 0.01) == 1_000


def test_a_long_request_counts_for_a_while_only(throttle: Throttle, clock: Clock) -> None:
    with throttle.request():
        assert lines_within(throttle, clock, LONG_SECONDS) <= LINES_PER_SECOND * LONG_SECONDS + TURN_LINES
        clock.now += 0.001
        assert lines_within(throttle, clock, 0.1) == 10_000
        with throttle.request():  # a short one beside it
            clock.now += 0.001
        assert lines_within(throttle, clock, 0.004) <= TURN_LINES
        clock.now += LINGER_SECONDS
        assert lines_within(throttle, clock, 0.1) == 10_000


def test_of_requests_at_once_the_latest_counts(throttle: Throttle, clock: Clock) -> None:
    with throttle.request():
        clock.now += 0.01
        with throttle.request():
            clock.now += 0.01
        clock.now += LINGER_SECONDS
        assert lines_within(throttle, clock, 0.1) <= LINES_PER_SECOND * 0.1 + TURN_LINES


def test_a_request_that_fails_is_over(throttle: Throttle, clock: Clock) -> None:
    with pytest.raises(ValueError, match="wrong"), throttle.request():
        raise ValueError("wrong")
    clock.now += LINGER_SECONDS
    assert lines_within(throttle, clock, 0.01) == 1_000
