"""The time that a model server with continuous batching takes, as pure arithmetic: no clock, no input or output.

All running requests gain one token a step. A step takes `step_seconds` up to `knee` requests, and grows in proportion
beyond. A prompt that is new stops all steps while it is read; the beginning of a prompt that a cache still has is not
read again. Requests beyond `slots` wait in a queue without limit, or are refused beyond `refuse_beyond`.
"""

import heapq
import itertools
import math
from collections import OrderedDict, deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    step_seconds: float = 0.02
    knee: float = 16
    sharpness: float = math.inf
    """Of the knee; a smaller number makes it round."""
    overload: float = 0.0
    """How much faster than in proportion steps grow beyond the knee."""
    slots: float = math.inf
    refuse_beyond: float = math.inf
    prefill_rate: float = 20_000
    """Tokens of prompts a second."""
    cached_prefixes: int = 0

    def step(self, running: int) -> float:
        ratio = running / self.knee
        if math.isinf(self.sharpness):
            factor = max(1.0, ratio)
        else:
            factor = (1 + ratio**self.sharpness) ** (1 / self.sharpness)
        return self.step_seconds * factor * max(1.0, ratio) ** self.overload

    def goodput(self, running: int, tokens: float, prompt: float) -> float:
        """Tokens a second, completion and an eighth of the prompt, with a number of requests in flight at all times."""
        served = min(running, self.slots)
        seconds = tokens * self.step(int(served)) / served + prompt / self.prefill_rate
        return (tokens + prompt / 8) / seconds


@dataclass(eq=False)
class Request:
    output_tokens: int
    prompt_tokens: int = 0
    prefix: str = ""
    prefix_tokens: int = 0
    cached_tokens: int = 0
    is_hit: bool = False
    submitted_at: float = 0.0
    first_token_at: float = 0.0
    """When its prompt has been read, and one step done with those that ran then."""
    finished_at: float = 0.0


class Engine:
    """Runs requests in the time that its caller tells."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.now = 0.0
        self.waiting: deque[Request] = deque()
        self.running: set[Request] = set()
        self.hits = self.misses = 0
        self._steps = 0.0
        """Tokens that a request would have gained that runs from the beginning."""
        self._stalled_until = 0.0
        self._ends: list[tuple[float, int, Request]] = []
        self._numbers = itertools.count()
        self._cache: OrderedDict[str, float] = OrderedDict()
        """Prefix -> the time from which it is there; the one used last is at the end."""

    def submit(self, request: Request, now: float) -> bool:
        """Returns False if the request is refused. `now` must not be after `next_end()`."""
        self._advance(now)
        if len(self.running) + len(self.waiting) >= self.machine.refuse_beyond:
            return False
        request.submitted_at = now
        self.waiting.append(request)
        self._admit()
        return True

    def abort(self, request: Request, now: float) -> None:
        self._advance(now)
        if request in self.running:
            self.running.discard(request)
        elif request in self.waiting:
            self.waiting.remove(request)
        self._admit()

    def next_end(self) -> float | None:
        """When the next request ends, if nothing comes before."""
        while self._ends and self._ends[0][2] not in self.running:
            heapq.heappop(self._ends)
        if not self._ends:
            return None
        left = max(0.0, self._ends[0][0] - self._steps)
        return max(self.now, self._stalled_until) + left * self.machine.step(len(self.running))

    def finish(self) -> Request:
        """Advance to `next_end` and return the request that ends."""
        end = self.next_end()
        assert end is not None
        steps, _, request = heapq.heappop(self._ends)
        self._advance(end)
        self._steps = max(self._steps, steps)
        request.finished_at = self.now
        self.running.discard(request)
        self._admit()
        return request

    def _advance(self, now: float) -> None:
        begin = max(self.now, self._stalled_until)
        if now > begin and self.running:
            self._steps += (now - begin) / self.machine.step(len(self.running))
        self.now = max(self.now, now)

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.machine.slots:
            request = self.waiting.popleft()
            new = request.prompt_tokens
            if request.prefix and self.machine.cached_prefixes:
                request.is_hit = self._cache.get(request.prefix, math.inf) <= self.now
                if request.is_hit:
                    self.hits += 1
                    request.cached_tokens = request.prefix_tokens
                    new -= request.prefix_tokens
                else:
                    self.misses += 1
            self._stalled_until = max(self._stalled_until, self.now) + new / self.machine.prefill_rate
            if request.prefix and self.machine.cached_prefixes:
                self._cache.setdefault(request.prefix, self._stalled_until)
                self._cache.move_to_end(request.prefix)
                while len(self._cache) > self.machine.cached_prefixes:
                    self._cache.popitem(last=False)
            self.running.add(request)
            request.first_token_at = self._stalled_until + self.machine.step(len(self.running))
            heapq.heappush(self._ends, (self._steps + request.output_tokens, next(self._numbers), request))
