"""A lane: the requests of one model to one endpoint, with the state that decides whether one more is sent."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from filestead.domain.batches.observation import LaneObserver
from filestead.domain.forwarding.interfaces import FileMode
from filestead.http_client.client import Client
from filestead.http_client.errors import EndpointFailure
from filestead.inference.breaker import Breaker, Refusals
from filestead.inference.cohorts import Outcome
from filestead.inference.exchanges import Exchange, of_failure, of_response
from filestead.inference.limiter import Limiter, Load
from filestead.inference.priority import KEY_SUFFIX, PriorityField
from filestead.inference.rate_limits import RateLimits
from filestead.inference.traffic import Traffic

log = logging.getLogger("filestead")

BUSY_SECONDS = 0.25
MAX_BUSY_SECONDS = 30.0
"""Pauses of a busy endpoint that does not say for how long; they double."""

SHOWN_SECONDS = 5.0
"""Waits for a rate limit from which they are shown: shorter ones are the pace."""

PROMPT_SHARE = 1 / 8
"""What a token of a prompt counts, by a token of a completion."""


class Lane:
    """The requests of one model to one endpoint."""

    def __init__(
        self,
        name: str,
        model: str,
        client: Client,
        *,
        breaker: Breaker,
        refusals: Refusals,
        limiter: Limiter,
        priority: PriorityField,
        traffic: Traffic,
        timeout_seconds: float,
        files: FileMode = "text",
        clock: Callable[[], float],
        changed: Callable[[], None],
        observer: LaneObserver,
    ) -> None:
        """`changed` is called when the lane or its endpoint has stopped or started."""
        self.endpoint_name = name
        self.model = model
        self.refusals = refusals
        self.files: FileMode = files
        self._client = client
        self._breaker = breaker
        self._limiter = limiter
        self._priority = priority
        self._traffic = traffic
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._changed = changed
        self._observer = observer
        self._rates = RateLimits(clock)
        self._sizes: deque[int] = deque()
        """Of the requests in places that `send` has not taken yet."""
        self._busy_in_a_row = 0
        self._busy_since = float("-inf")
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def limit(self) -> int:
        """How many requests may be in flight."""
        return self._limiter.limit

    @property
    def in_flight(self) -> int:
        """How many places are taken."""
        return self._limiter.in_flight

    @property
    def is_used(self) -> bool:
        """Whether requests are in flight, or wait for a place."""
        return bool(self.in_flight or self._waiters)

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with the lane but what it has learned."""
        return not self.is_used and not self.refusals.is_paused

    def ready(self) -> bool:
        """Whether a request can be sent now."""
        return self._may_send() and self._limiter.has_room()

    def _may_send(self) -> bool:
        """Whether nothing but the limiter is in the way. Interactive requests take places; one is always left."""
        if self._breaker.is_open or self.refusals.is_paused or self._rates.seconds_to_wait():
            return False
        interactive = self._traffic.interactive
        return not interactive or self.in_flight < max(1, self.limit - interactive)

    def try_acquire(self, size: int) -> bool:
        """Take a place for a request of `size` bytes. Whoever has it must call `send` or `release`."""
        if not self._may_send() or not self._limiter.try_acquire(size):
            return False
        self._sizes.append(size)
        self._rates.acquire()
        return True

    def release(self, size: int) -> None:
        """Return a place without a request."""
        self._sizes.remove(size)
        self._rates.give_back()
        self._limiter.give_back(size)
        self.wake()

    async def send(self, path: str, body: bytes, *, idempotency_key: str, model: str) -> Exchange:
        """Send a request in a place that the caller holds, and return the place. Raises nothing but `CancelledError`.

        `path` is that of a line (`/v1/chat/completions`), and `model` that of the lane.
        """
        assert model == self.model, "a lane is of one model"
        size = self._sizes.popleft()
        began = self._clock()
        try:
            exchange = await self._exchange(path.removeprefix("/v1"), body, idempotency_key)
        except ValueError as error:
            self._limiter.give_back(size)
            self.wake()
            return Exchange("final", None, f"the request cannot be sent: {error}", None, 0.0)
        except BaseException:
            self._limiter.give_back(size)
            self.wake()
            raise
        if exchange.response is not None:
            exchange = self._judged(exchange, idempotency_key)
        self._record(exchange, size, began)
        return exchange

    async def _exchange(self, path: str, body: bytes, key: str) -> Exchange:
        """Send a line, with its priority if the endpoint takes it. Raises `ValueError`."""
        field = self._priority
        changed, is_trial = field.begin(body)
        if changed is None:
            return await self._request(path, body, key)
        try:
            exchange = await self._request(path, changed, key + KEY_SUFFIX if is_trial else key)
            response = exchange.response
            if response is None or not field.is_refused(response.status, response.body, is_trial=is_trial):
                return exchange
            exchange = await self._request(path, body, key)
            if is_trial and exchange.response is not None:
                field.compare(exchange.response.status)
            return exchange
        finally:
            if is_trial:
                field.end()

    async def _request(self, path: str, body: bytes, key: str) -> Exchange:
        number, began = self._rates.begin(), self._clock()
        try:
            response = await self._client.request(
                "POST", path, body, headers={"Idempotency-Key": key}, seconds=self._timeout_seconds
            )
        except EndpointFailure as failure:
            return of_failure(failure, self._clock() - began)
        exchange = of_response(response, self._clock() - began)
        used = exchange.usage.input + exchange.usage.output
        self._rates.observe(number, began, response.headers, is_busy=exchange.kind == "busy", tokens=used)
        return exchange

    async def wait_ready(self) -> None:
        """Wait until a request can be sent."""
        await asyncio.sleep(0)  # a caller that has no use for the place must not stop the event loop
        while not self.ready():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                seconds = max(self._limiter.seconds_to_wait(), self._rates.seconds_to_wait())
                async with asyncio.timeout(seconds or None):
                    await waiter
            except TimeoutError:
                pass
            finally:
                self._waiters.discard(waiter)

    def paused_reason(self) -> str | None:
        """Why no requests are sent, other than that all places are taken; None if they are."""
        reason = self._breaker.describe() or self.refusals.describe()
        if reason is None and (seconds := self._limiter.seconds_to_wait()):
            reason = f"it is busy and asked to wait for {seconds:.1f} more seconds"
        elif reason is None and (seconds := self._rates.seconds_to_wait()) >= SHOWN_SECONDS:
            reason = f"its rate limit is used up for {seconds:.0f} more seconds"
        return reason

    def wake(self) -> None:
        """Let those who wait look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def observe(self, load: Load) -> None:
        """Take what the endpoint says of its load."""
        self._limiter.observe(load)
        self._priority.note_server(load.server)

    def bind(self, bound: int | None) -> None:
        """Keep the number in flight within a bound."""
        self._limiter.bind(bound)
        self.wake()

    def _judged(self, exchange: Exchange, request: str) -> Exchange:
        """A refusal that concerns only this request is final: the lane must not wait for it, nor the others."""
        if exchange.kind != "refused":
            self.refusals.forget_request(request)
        elif self.refusals.concerns_request(request):
            return replace(exchange, kind="final")
        return exchange

    def _record(self, exchange: Exchange, size: int, began: float) -> None:
        kind, usage = exchange.kind, exchange.usage
        if kind == "unreachable":
            if self._breaker.record_unreachable(exchange.detail):
                log.warning("endpoint %s is paused: %s", self.endpoint_name, self._breaker.describe())
                self._changed()
        elif kind == "refused":
            self._record_refused(exchange)
        else:
            self._record_accepted(kind == "busy")
        if kind == "busy":
            self._pause(exchange, began)
        tokens = usage.output + PROMPT_SHARE * usage.input
        self._observer.ended(kind, exchange.seconds, usage.input, usage.cached, usage.output)
        self._limiter.release(Outcome(exchange.seconds, tokens, kind == "busy", kind != "ok", size))
        self.wake()

    def _record_refused(self, exchange: Exchange) -> None:
        assert exchange.response is not None, "a refusal is a response"
        self._breaker.record_reached()
        if self.refusals.record_refused(exchange.response.status, exchange.detail):
            log.warning("endpoint %s is paused for the model %s: %s", self.endpoint_name, self.model, exchange.detail)
            self._changed()

    def _record_accepted(self, is_busy: bool) -> None:
        if self._breaker.record_reached():
            self._changed()
        if not is_busy:
            self._busy_in_a_row = 0
            if self.refusals.record_accepted():
                self._changed()

    def _pause(self, exchange: Exchange, began: float) -> None:
        now = self._clock()
        if began >= self._busy_since:  # not of those that were sent with the first busy one
            self._busy_in_a_row += 1
            self._busy_since = now
        seconds = exchange.retry_after
        if seconds is None:
            seconds = min(BUSY_SECONDS * 2 ** min(self._busy_in_a_row - 1, 20), MAX_BUSY_SECONDS)
        self._limiter.pause_until(now + seconds)
