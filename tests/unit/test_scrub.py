"""The pace of `scrub`."""

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from filestead.domain.scrub import LOST_SECONDS, MIN_BYTES, Pace

MIB = 1024 * 1024


class Time:
    """A clock that only sleeping and reading move."""

    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@example([(0, 3.0)] * 3 + [(8 * MIB, 0.0)] * 8)  # what was not used for long is not made up for
@given(st.lists(st.tuples(st.integers(0, 8 * MIB), st.floats(0, 3)), max_size=50))
def test_no_more_passes_than_the_rate_allows(blocks: list[tuple[int, float]]) -> None:
    """After each block, and over each stretch but for what is made up for."""
    clock = Time()
    pace = Pace(10 * MIB, clock.read, clock.sleep)
    ends = [(clock.now, 0)]

    async def spend() -> None:
        for size, seconds in blocks:
            clock.now += seconds  # that reading takes
            await pace.spend(size)
            ends.append((clock.now, ends[-1][1] + size))

    asyncio.run(spend())
    for index, (start, before) in enumerate(ends):
        for end, after in ends[index:]:
            assert after - before <= (end - start + LOST_SECONDS) * 10 * MIB + 1
    assert ends[-1][1] <= (clock.now - 100.0) * 10 * MIB + 1


def test_time_that_reading_takes_is_part_of_the_pace() -> None:
    clock = Time()
    pace = Pace(10 * MIB, clock.read, clock.sleep)

    async def spend() -> None:
        for _ in range(100):
            clock.now += 0.09
            await pace.spend(MIB)

    asyncio.run(spend())
    assert abs(clock.now - 110.0) < 0.001


def test_without_a_rate_nothing_waits() -> None:
    clock = Time()
    asyncio.run(Pace(0, clock.read, clock.sleep).spend(10**12))
    assert clock.now == 100.0


def test_twenty_small_blobs_a_second_by_default() -> None:
    assert 10 * MIB // MIN_BYTES == 20
