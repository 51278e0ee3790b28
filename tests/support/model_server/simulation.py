"""A limiter in front of an engine, in virtual time: requests are sent whenever there is a place."""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from filestead.inference.cohorts import Outcome
from filestead.inference.limiter import Limiter
from filestead.inference.politeness import PROBE_SECONDS, Politeness
from tests.support.model_server.physics import Engine, Machine, Request

RESPONSE_OF_REFUSAL = 0.01


@dataclass
class Record:
    """Finished requests as (time, seconds, tokens with an eighth of the prompt), and the limits over time."""

    finished: list[tuple[float, float, float]] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)
    refused: int = 0
    chats: list[tuple[float, float]] = field(default_factory=list)
    """Interactive requests and probes, as (time of the first token, seconds to it)."""
    probes: int = 0

    def goodput(self, since: float, until: float) -> float:
        return sum(tokens for time, _, tokens in self.finished if since <= time < until) / (until - since)

    def time_per_token(self, quantile: float) -> float:
        found = sorted(seconds / tokens for _, seconds, tokens in self.finished)
        return found[int(quantile * (len(found) - 1))]

    def ttft(self, quantile: float, since: float) -> float:
        found = sorted(seconds for time, seconds in self.chats if time >= since)
        return found[math.ceil(quantile * len(found)) - 1]

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


class Chats:
    """Interactive requests that come at random."""

    def __init__(self, seed: int, rate: float, tokens: tuple[int, int] = (20, 120)) -> None:
        """`rate` is their number a second."""
        self._chance = random.Random(seed + 1000)
        self._new = requests(seed + 2000, tokens)
        self._rate = rate
        self.next_at = self._chance.expovariate(rate) if rate else math.inf

    def take(self) -> Request:
        self.next_at += self._chance.expovariate(self._rate)
        return self._new()


class Beside:
    """Lines of a batch beside chats, in front of an engine. As lanes do, lines leave places to the chats in flight."""

    def __init__(self, machine: Machine, target: float | None) -> None:
        self.record = Record()
        self._engine = Engine(machine)
        self._clock = Clock()
        self._limiter = Limiter(self._clock, others=lambda: len(self._interactive))
        self._politeness = None if target is None else Politeness(self._clock, target)
        self._lines: set[Request] = set()
        self._interactive: set[Request] = set()
        self._silent: set[Request] = set()
        """Of these, those without a token."""

    def run(self, new_line: Callable[[], Request], chats: Chats, seconds: float) -> Record:
        clock, probe_at = self._clock, 0.0 if self._politeness is not None else math.inf
        while clock.now < seconds:
            self._send(new_line)
            end = self._engine.next_end() or math.inf
            first = min((found.first_token_at for found in self._silent & self._engine.running), default=math.inf)
            clock.now = max(clock.now, min(end, first, chats.next_at, probe_at))
            if first <= clock.now:
                self._measure()
            elif end <= clock.now:
                self._finish()
            elif chats.next_at <= clock.now:
                self._begin(chats.take())
            else:
                probe_at = clock.now + self._probe()
        return self.record

    def _send(self, new_line: Callable[[], Request]) -> None:
        while self._has_place() and self._limiter.try_acquire():
            line = new_line()
            self._lines.add(line)
            self._engine.submit(line, self._clock.now)
        limits = self.record.limits
        if not limits or limits[-1][1] != self._limiter.limit:
            limits.append((self._clock.now, self._limiter.limit))

    def _has_place(self) -> bool:
        chats = len(self._interactive)
        return not chats or len(self._lines) < max(1, self._limiter.limit - chats)

    def _begin(self, chat: Request) -> None:
        self._interactive.add(chat)
        self._silent.add(chat)
        self._engine.submit(chat, self._clock.now)

    def _probe(self) -> float:
        assert self._politeness is not None
        if (wait := self._politeness.seconds_to_probe()) > 0:
            return wait
        self.record.probes += 1
        self._begin(Request(1, 1))
        return PROBE_SECONDS

    def _measure(self) -> None:
        now = self._clock.now
        for chat in [found for found in self._silent & self._engine.running if found.first_token_at <= now]:
            self._silent.discard(chat)
            taken = chat.first_token_at - chat.submitted_at
            self.record.chats.append((now, taken))
            if self._politeness is not None:
                self._politeness.add(taken, in_flight=len(self._lines), limit=self._limiter.limit)
                self._limiter.bind(self._politeness.bound)

    def _finish(self) -> None:
        request = self._engine.finish()
        self._silent.discard(request)
        if request not in self._lines:
            self._interactive.discard(request)
            return
        self._lines.discard(request)
        taken = request.finished_at - request.submitted_at
        tokens = request.output_tokens + request.prompt_tokens / 8
        self.record.finished.append((self._clock.now, taken, tokens))
        self._limiter.release(Outcome(taken, tokens))


def beside_chats(machine: Machine, seed: int, seconds: float, *, rate: float, target: float | None) -> Record:
    """Lines beside `rate` chats a second, with a target for the time to first token or without."""
    return Beside(machine, target).run(requests(seed), Chats(seed, rate), seconds)
