"""A limiter in front of an engine, in virtual time: requests are sent whenever there is a place."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from filestead.inference.cohorts import Outcome
from filestead.inference.limiter import Limiter
from tests.support.model_server.physics import Engine, Machine, Request

RESPONSE_OF_REFUSAL = 0.01


@dataclass
class Record:
    """Finished requests as (time, seconds, tokens with an eighth of the prompt), and the limits over time."""

    finished: list[tuple[float, float, float]] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)
    refused: int = 0

    def goodput(self, since: float, until: float) -> float:
        return sum(tokens for time, _, tokens in self.finished if since <= time < until) / (until - since)

    def time_per_token(self, quantile: float) -> float:
        found = sorted(seconds / tokens for _, seconds, tokens in self.finished)
        return found[int(quantile * (len(found) - 1))]

    def limits_since(self, time: float) -> list[int]:
        return [limit for at, limit in self.limits if at >= time]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Fixed:
    """A limit that never changes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0

    def try_acquire(self) -> bool:
        if self.in_flight >= self.limit:
            return False
        self.in_flight += 1
        return True

    def release(self, outcome: Outcome) -> None:
        self.in_flight -= 1

    def pause_until(self, time: float) -> None:
        pass

    def seconds_to_wait(self) -> float:
        return 0.1


def requests(
    seed: int, tokens: tuple[int, int] = (20, 120), prompt: tuple[int, int] = (50, 400)
) -> Callable[[], Request]:
    chance = random.Random(seed)
    return lambda: Request(chance.randint(*tokens), chance.randint(*prompt))


def simulate(
    machine: Machine,
    limiter: Limiter | Fixed,
    clock: Clock,
    new_request: Callable[[], Request],
    seconds: float,
    *,
    usage: bool = True,
    change: tuple[float, Machine] | None = None,
) -> Record:
    engine, record = Engine(machine), Record()
    refusals: list[tuple[float, int]] = []
    numbers = itertools.count()
    while clock.now < seconds:
        if change is not None and clock.now >= change[0]:
            engine.machine, change = change[1], None
        while limiter.try_acquire():
            if not engine.submit(new_request(), clock.now):
                heapq.heappush(refusals, (clock.now + RESPONSE_OF_REFUSAL, next(numbers)))
        if not record.limits or record.limits[-1][1] != limiter.limit:
            record.limits.append((clock.now, limiter.limit))
        end = engine.next_end()
        if refusals and (end is None or refusals[0][0] <= end):
            clock.now, _ = heapq.heappop(refusals)
            record.refused += 1
            limiter.release(Outcome(RESPONSE_OF_REFUSAL, overloaded=True))
            limiter.pause_until(clock.now + 0.5)
            continue
        if end is None:
            clock.now += limiter.seconds_to_wait()
            continue
        request = engine.finish()
        clock.now = request.finished_at
        taken = request.finished_at - request.submitted_at
        tokens = request.output_tokens + request.prompt_tokens / 8
        record.finished.append((clock.now, taken, tokens))
        limiter.release(Outcome(taken, tokens if usage else 0))
    return record
