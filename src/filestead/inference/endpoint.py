"""One endpoint: its client, its breaker, its lanes, and the task that probes it and reads its metrics."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from filestead.domain.batches.observation import UNOBSERVED_BATCHES, BatchObserver, LaneState, UpstreamState
from filestead.domain.forwarding.interfaces import FileMode
from filestead.egress import Egress
from filestead.http_client.client import MIB, Client, Content
from filestead.http_client.connections import Response
from filestead.http_client.errors import EndpointFailure, EndpointUnreachable
from filestead.http_client.streams import StreamedResponse
from filestead.inference.breaker import Breaker, Refusals, Verdict
from filestead.inference.chat_probe import ChatProbe
from filestead.inference.chat_target import ChatTarget
from filestead.inference.lanes import Lane
from filestead.inference.limiter import Limiter
from filestead.inference.loads import LoadSource
from filestead.inference.politeness import Politeness
from filestead.inference.priority import PriorityField, PriorityMode
from filestead.inference.traffic import Traffic

log = logging.getLogger("filestead")

PROBE_SECONDS = 10.0
WATCH_SECONDS = 2.0
MAX_METRICS_BYTES = 8 * MIB
MAX_IN_FLIGHT_BYTES = 256 * MIB
"""Of the bodies of requests for one model; images make them large."""

MAX_LANES = 1024
"""Lanes of models that are remembered; a batch can name any number of models."""


@dataclass(frozen=True, slots=True)
class PausedEndpoint:
    """An endpoint that receives no requests now; `model` is None if that is so for every model."""

    name: str
    model: str | None
    reason: str
    since: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Check:
    """What an endpoint says when it is asked once."""

    usable: bool
    detail: str
    """Why not, or what is missing."""
    models: list[str] | None = None
    """The names that it lists; None if it does not."""
    metrics: bool = False
    """Whether it says how busy it is."""


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class Endpoint:
    """One server: a replica of an entry of the configuration."""

    def __init__(
        self,
        name: str,
        url: str,
        key: str | None,
        egress: Egress,
        *,
        max_concurrency: int,
        timeout_seconds: float,
        files: FileMode = "text",
        chat_ttft_p95: float | None = None,
        priority: PriorityMode = "auto",
        clock: Callable[[], float],
        now: Callable[[], float],
        observer: BatchObserver = UNOBSERVED_BATCHES,
    ) -> None:
        """`chat_ttft_p95` is the target for interactive requests, in seconds; None turns it off."""
        self.name = name
        self.url = url
        self.files: FileMode = files
        self.traffic = Traffic()
        self._client = Client(url, key, egress)
        root = url.rstrip("/").removesuffix("/v1")
        self._root = Client(root, key, egress, max_response_bytes=MAX_METRICS_BYTES)
        self._max_concurrency = max_concurrency
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._now = now
        self._observer = observer
        self._breaker = Breaker(clock, now)
        self._lanes: dict[str, Lane] = {}
        self._changed = asyncio.Event()
        self._loads = LoadSource(self._root, clock)
        self._priority: PriorityMode = priority
        self.chat_target: ChatTarget | None = None
        if chat_ttft_p95 is not None:
            self.chat_target = ChatTarget(
                Politeness(clock, chat_ttft_p95),
                ChatProbe(self._client, clock),
                lambda: self._lanes.values(),  # noqa: PLW0108 - the dictionary is replaced
                lambda outcome: observer.chat_probed(name, outcome),
            )

    def lane(self, model: str) -> Lane:
        """The lane of a model; the same one for each call while it is used."""
        lane = self._lanes.get(model)
        if lane is None:
            if len(self._lanes) >= MAX_LANES:
                self._forget_lanes()
            lane = self._lanes[model] = self._new_lane(model)
        return lane

    def _forget_lanes(self) -> None:
        """Forget what is idle, or if all are paused, the oldest: clients may name any number of models."""
        kept = {name: lane for name, lane in self._lanes.items() if not lane.is_idle}
        if len(kept) >= MAX_LANES:
            oldest = next((name for name, lane in kept.items() if not lane.is_used), None)
            if oldest is not None:
                del kept[oldest]
        self._lanes = kept

    def _new_lane(self, model: str) -> Lane:
        return Lane(
            self.name,
            model,
            self._client,
            breaker=self._breaker,
            refusals=Refusals(self._clock, self._now),
            limiter=self._new_limiter(),
            priority=PriorityField(self._priority),
            traffic=self.traffic,
            files=self.files,
            timeout_seconds=self._timeout_seconds,
            clock=self._clock,
            changed=self._note_change,
            observer=self._observer.lane(self.name, model),
        )

    def _new_limiter(self) -> Limiter:
        limiter = Limiter(
            self._clock,
            ceiling=self._max_concurrency,
            max_bytes=MAX_IN_FLIGHT_BYTES,
            others=lambda: self.traffic.interactive,
        )
        if self.chat_target is not None:
            limiter.bind(self.chat_target.bound)
        return limiter

    def _note_change(self) -> None:
        self._changed.set()
        for lane in self._lanes.values():
            lane.wake()

    @property
    def in_flight(self) -> int:
        """Requests of all kinds."""
        return self.traffic.interactive + sum(lane.in_flight for lane in self._lanes.values())

    def unreachable_reason(self) -> str | None:
        """Why no requests are sent for any model; None if they are."""
        return self._breaker.describe()

    def seconds_to_probe(self) -> float:
        """Seconds until an endpoint that cannot be reached is tried again; infinite if none is."""
        return self._breaker.pause.seconds_to_probe()

    async def open(
        self, method: str, path: str, content: Content, *, headers: Mapping[str, str], length: int | None
    ) -> StreamedResponse:
        """Send a request of an interactive client; see `Client.open`. Raises `EndpointFailure`.

        The caller counts it in `traffic` while it is in flight.
        """
        try:
            response = await self._client.open(
                method, path, content, headers=headers, length=length, seconds=self._timeout_seconds
            )
        except EndpointUnreachable as failure:
            if self._breaker.record_unreachable(str(failure)):
                log.warning("endpoint %s is paused: %s", self.name, self._breaker.describe())
                self._note_change()
            raise
        if self._breaker.record_reached():
            self._note_change()
        return response

    def paused(self) -> list[PausedEndpoint]:
        """What receives no requests until a probe passes."""
        if (reason := self._breaker.describe()) is not None:
            return [PausedEndpoint(self.name, None, reason, self._breaker.pause.since)]
        return [
            PausedEndpoint(self.name, lane.model, reason, lane.refusals.pause.since)
            for lane in self._lanes.values()
            if (reason := lane.refusals.describe()) is not None
        ]

    def state(self) -> UpstreamState:
        """Whether it is paused, and for how many models, for metrics."""
        paused = sum(lane.refusals.is_paused for lane in self._lanes.values())
        p95 = None if self.chat_target is None else self.chat_target.p95()
        return UpstreamState(self.name, self._breaker.is_open, paused, p95)

    def lane_states(self) -> list[LaneState]:
        """The lanes at this moment, for metrics."""
        return [LaneState(self.name, lane.model, lane.in_flight, lane.limit) for lane in self._lanes.values()]

    async def check(self) -> Check:
        """Ask for the models and the metrics, for people."""
        try:
            response = await self._client.request("GET", "/models", seconds=PROBE_SECONDS)
            load = await self._loads.ask()
        except EndpointFailure as failure:
            return Check(False, str(failure))
        models = _names(response)
        if response.status in {401, 403}:
            return Check(False, f"it refuses the key ({response.status}): check the API key of this endpoint")
        if 300 <= response.status < 400:
            return Check(False, f"it redirects ({response.status}): set the URL to the final address")
        if response.status >= 500:
            return Check(False, f"it fails ({response.status})")
        detail = "" if models is not None else f"it does not list its models ({response.status})"
        return Check(True, detail, models, load is not None)

    async def watch(self) -> None:
        """Probe while something is paused, and read the load while requests are in flight, until cancelled."""
        async with asyncio.TaskGroup() as group:
            chat = group.create_task(asyncio.sleep(0))
            while True:
                self._changed.clear()
                try:
                    if self._seconds_to_probe() <= 0:
                        await self._probe()
                    if any(lane.in_flight for lane in self._lanes.values()):
                        if self.chat_target is not None and chat.done():
                            chat = group.create_task(self.chat_target.measure())
                        await self._read_load()
                except Exception:
                    log.exception("watching the endpoint %s failed", self.name)
                try:
                    async with asyncio.timeout(min(self._seconds_to_probe(), WATCH_SECONDS)):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    def _seconds_to_probe(self) -> float:
        pauses = [self._breaker.pause, *(lane.refusals.pause for lane in self._lanes.values())]
        return min(pause.seconds_to_probe() for pause in pauses)

    async def _probe(self) -> None:
        try:
            response = await self._client.request("GET", "/models", seconds=PROBE_SECONDS)
        except EndpointFailure as failure:
            log.debug("the endpoint %s does not respond to a probe: %s", self.name, failure)
            response = None
        if self._breaker.pause.probed(Verdict.FAILED if response is None else Verdict.PASSED):
            log.warning("endpoint %s can be reached again", self.name)
        for lane in list(self._lanes.values()):
            pause = lane.refusals.pause
            if pause.seconds_to_probe() <= 0 and lane.refusals.probed(_verdict(response, lane)):
                log.warning("endpoint %s is tried again with the model %s", self.name, lane.model)
        self._note_change()

    async def _read_load(self) -> None:
        if self._loads.is_due() and (load := await self._loads.read()) is not None:
            for lane in self._lanes.values():
                lane.observe(load)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._root.close()


def _verdict(response: Response | None, lane: Lane) -> Verdict:
    """What the list of models says of a refused key or model."""
    if response is None or response.status in {401, 403} or response.status >= 500:
        return Verdict.FAILED
    if 300 <= response.status < 400:
        return Verdict.FAILED if 300 <= lane.refusals.status < 400 else Verdict.UNKNOWN
    names = _names(response)
    if names is None:
        return Verdict.UNKNOWN
    return Verdict.PASSED if lane.refusals.status != 404 or lane.model in names else Verdict.UNKNOWN


def _names(response: Response) -> list[str] | None:
    if response.status != 200:
        return None
    try:
        return [model.id for model in msgspec.json.decode(response.body, type=_Models).data]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
