"""Pacing by the rate limits that responses report: the headers, the arithmetic, and batches of lines in real time."""

import asyncio
import heapq
import itertools
from typing import Any

import pytest

from filestead.inference.rate_limits import MAX_WAIT_SECONDS, RateLimits, duration
from tests.inference.endpoints import body, config, running, send
from tests.support.model_server import Bucket, ModelServer, RateLimit
from tests.support.model_server.simulation import Clock


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("0s", 0.0),
        ("1h2m3.5s", 3723.5),
        ("7m12.48s", 432.48),
        ("1m", 60.0),
        ("1d", 86_400.0),
        ("2s5ms", 2.005),
        ("7.66", 7.66),
        ("0", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", " ", "s", "-1s", "1 s", "1e9", "1e9s", "nan", "inf", "1s1h", "1.2.3s", "٣s", "1s\n", "s1", "1x"),
        *("1764000000", "25h", "2d", "9" * 400, "9" * 9 + "s", "1" * 80 + "ms", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ],
)
def test_what_is_not_a_duration_is_ignored(text: str | None) -> None:
    assert duration(text) is None


def headers(remaining: Any, reset: Any, limit: Any = None, kind: str = "requests") -> dict[str, str]:
    named = {"remaining": remaining, "reset": reset, "limit": limit}
    return {f"x-ratelimit-{name}-{kind}": str(value) for name, value in named.items() if value is not None}


def limits() -> tuple[RateLimits, Clock]:
    clock = Clock()
    return RateLimits(clock), clock


def one(rates: RateLimits, clock: Clock, found: dict[str, str], *, is_busy: bool = False, tokens: float = 0) -> None:
    """One request, and its response a tenth of a second later."""
    rates.acquire()
    number, began = rates.begin(), clock.now
    clock.now += 0.1
    rates.observe(number, began, found, is_busy=is_busy, tokens=tokens)


def test_nothing_is_sent_until_the_reset_when_nothing_is_left() -> None:
    rates, clock = limits()
    assert rates.seconds_to_wait() == 0
    one(rates, clock, headers(0, "20s"))
    assert rates.seconds_to_wait() == pytest.approx(20)
    clock.now += 19.9
    assert rates.seconds_to_wait() == pytest.approx(0.1)
    clock.now += 0.2
    assert rates.seconds_to_wait() == 0


def test_what_is_left_is_spent_by_later_requests() -> None:
    rates, clock = limits()
    one(rates, clock, headers(3, "20s"))
    for _ in range(3):
        assert rates.seconds_to_wait() == 0
        rates.acquire()
    assert rates.seconds_to_wait() == pytest.approx(20)
    rates.give_back()
    assert rates.seconds_to_wait() == 0


def test_requests_in_flight_are_subtracted_from_what_an_earlier_one_says() -> None:
    rates, _ = limits()
    for _ in range(4):
        rates.acquire()
    numbers = [rates.begin() for _ in range(4)]
    rates.observe(numbers[1], 0.0, headers(2, "20s"), is_busy=False)
    assert rates.seconds_to_wait() == pytest.approx(20)
    rates.observe(numbers[0], 0.0, headers(3, "20s"), is_busy=False)  # it is older
    assert rates.seconds_to_wait() == pytest.approx(20)
    rates.observe(numbers[3], 0.0, headers(1, "20s"), is_busy=False)
    assert rates.seconds_to_wait() == 0


def test_what_comes_back_is_used_evenly() -> None:
    rates, clock = limits()
    one(rates, clock, headers(0, "10s", limit=100))
    times = []
    while clock.now < 5:
        if (wait := rates.seconds_to_wait()) > 0:
            clock.now += wait + 1e-6
            continue
        rates.acquire()
        times.append(clock.now)
    assert 45 <= len(times) <= 51
    assert max(after - before for before, after in itertools.pairwise(times)) < 0.2


def test_tokens_pace_by_what_requests_use() -> None:
    rates, clock = limits()
    left = 1000
    for _ in range(5):
        left -= 100
        one(rates, clock, headers(left, "60s", kind="tokens"), tokens=60)
    for _ in range(5):
        assert rates.seconds_to_wait() == 0
        rates.acquire()
    assert rates.seconds_to_wait() > 50


def test_both_limits_must_have_room() -> None:
    rates, clock = limits()
    one(rates, clock, headers(50, "1s") | headers(0, "6s", kind="tokens"))
    assert rates.seconds_to_wait() == pytest.approx(6)


HOSTILE: dict[str, dict[str, str]] = {
    "nothing": {},
    "no reset": headers(0, None),
    "no rest": headers(None, "60s"),
    "negative": headers(-1, "60s"),
    "huge reset": headers(0, "9" * 300 + "s"),
    "years": headers(0, "100000h"),
    "a date": headers(0, "Fri, 31 Dec 9999 23:59:59 GMT"),
    "a Unix time": headers(0, "1764000000"),
    "words": headers("none", "soon"),
    "huge rest": headers("9" * 5000, "60s"),
    "no time": headers(0, "0s"),
    "other digits": headers("٣", "٣s"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_stop_nothing(name: str) -> None:
    rates, clock = limits()
    for _ in range(20):
        one(rates, clock, HOSTILE[name])
        assert rates.seconds_to_wait() == 0


@pytest.mark.parametrize("limit", ["0", "5", "9" * 12, "-3", "many"])
def test_a_limit_that_contradicts_the_rest_stops_nothing(limit: str) -> None:
    rates, clock = limits()
    for _ in range(20):
        one(rates, clock, headers(100, "60s", limit=limit))
        assert rates.seconds_to_wait() == 0


def test_a_rest_that_is_always_zero_is_not_believed_for_long() -> None:
    rates, clock = limits()
    one(rates, clock, headers(0, "24h"))
    assert rates.seconds_to_wait() == pytest.approx(MAX_WAIT_SECONDS, abs=1)
    clock.now += MAX_WAIT_SECONDS
    assert rates.seconds_to_wait() == 0
    one(rates, clock, headers(0, "24h"))  # it was accepted
    for _ in range(100):
        assert rates.seconds_to_wait() == 0
        one(rates, clock, headers(0, "24h"))


def test_a_rest_that_is_zero_for_a_day_costs_one_refusal_a_minute() -> None:
    rates, clock = limits()
    one(rates, clock, headers(0, "24h"), is_busy=True)
    sent = 0
    while clock.now < 1800:
        if (wait := rates.seconds_to_wait()) > 0:
            clock.now += wait
            continue
        one(rates, clock, headers(0, "24h"), is_busy=True)
        sent += 1
    assert 25 <= sent <= 31


def test_a_window_is_known_after_one_refusal() -> None:
    rates, clock = limits()
    one(rates, clock, headers(10, "55s", limit=60))  # as if 50 came back in 55 seconds
    one(rates, clock, headers(0, "50s", limit=60), is_busy=True)
    assert rates.seconds_to_wait() == pytest.approx(50)


@pytest.mark.parametrize("is_window", [False, True], ids=["bucket", "window"])
@pytest.mark.parametrize("kind", ["requests", "tokens", "both"])
def test_almost_no_refusals_in_virtual_time(kind: str, is_window: bool) -> None:
    """Requests of 2 seconds, at most 32 at a time, against a limit for 5 minutes."""
    requests = Bucket(120, 60, is_window) if kind != "tokens" else None
    tokens = Bucket(20_000, 60, is_window) if kind != "requests" else None
    limit = RateLimit(requests, tokens, says_when=False)
    rates, clock = limits()
    ends: list[tuple[float, int, float, bool, dict[str, str], int]] = []
    admitted = refused = 0
    while clock.now < 300:
        if len(ends) < 32 and not rates.seconds_to_wait():
            rates.acquire()
            used = 100 + 37 * admitted % 150
            accepted, found = limit.admit(used, clock.now)
            admitted, refused = admitted + accepted, refused + (not accepted)
            taken = 2.0 if accepted else 0.05
            heapq.heappush(ends, (clock.now + taken, rates.begin(), clock.now, not accepted, found, used))
            continue
        wake = clock.now + rates.seconds_to_wait() + 1e-6 if len(ends) < 32 else 1e9
        if ends and ends[0][0] <= wake:
            clock.now, number, began, is_busy, found, used = heapq.heappop(ends)
            rates.observe(number, began, found, is_busy=is_busy, tokens=used)
        else:
            clock.now = wake
    possible = min(5 * 120 + 120 if kind != "tokens" else 1e9, (5 + 1) * 20_000 / 174.5 if kind != "requests" else 1e9)
    assert admitted >= 0.75 * possible
    assert refused <= 0.02 * admitted


@pytest.mark.anyio
@pytest.mark.parametrize("paced", [True, False], ids=["with headers", "without"])
@pytest.mark.timing
async def test_lines_draw_almost_no_refusals(paced: bool) -> None:
    """The same limit with its headers and without them."""
    limit = RateLimit(Bucket(20, 0.25), says_when=paced)  # 80 a second
    if not paced:
        limit.hides = set(Bucket(1, 1).headers("requests"))
    async with ModelServer(instant=True, rate_limit=limit) as server, running(config(server)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")

        async def line(number: int) -> None:
            while (await send(lane, body(f"line {number}"))).kind == "busy":
                pass

        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(line(n) for n in range(150)))
        seconds = asyncio.get_running_loop().time() - began
        assert len(server.requests) == 150 + server.refused
        if paced:
            assert server.refused <= 5
            assert seconds < 3.5  # 1.65 by the limit
        else:
            assert server.refused > 5
