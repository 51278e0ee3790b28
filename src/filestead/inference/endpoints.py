"""The configured endpoints, their lanes, and the choice among replicas: what a scheduler of requests uses."""

import asyncio
import fnmatch
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from filestead.domain.batches.observation import UNOBSERVED_BATCHES, BatchObserver
from filestead.domain.forwarding.interfaces import FileMode
from filestead.egress import Egress
from filestead.inference.endpoint import Endpoint, PausedEndpoint
from filestead.inference.exchanges import Exchange, Usage
from filestead.inference.lanes import Lane
from filestead.inference.limiter import CEILING
from filestead.inference.priority import PriorityMode

__all__ = ["Endpoint", "EndpointConfig", "Endpoints", "Exchange", "Lane", "PausedEndpoint", "Usage", "choose"]

KNOWN_MODELS = 1024
"""Names of models whose endpoints are remembered."""
MAX_MODEL_CHARACTERS = 256
"""A longer name is no model's: clients choose what is remembered."""
LOAD_BOUND = 1.25
"""Times the mean load that one replica may have before a group of requests moves to its next one."""


@dataclass(frozen=True)
class EndpointConfig:
    """An entry of the configuration: equal servers at several URLs are its replicas."""

    name: str
    urls: tuple[str, ...]
    api_key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ("*",)
    """Patterns as of `fnmatch`; letters in upper and lower case differ."""
    max_concurrency: int | None = None
    """Maximum number of requests in flight for one model, at one URL."""
    timeout_seconds: float = 600.0
    files: FileMode = "text"
    chat_ttft_p95: float | None = None
    """Seconds to the first token of interactive requests that batches are to leave possible."""
    priority: PriorityMode = "auto"
    """Whether lines are sent with vLLM's `priority`."""


class Endpoints:
    """All configured endpoints."""

    def __init__(
        self,
        configs: Sequence[EndpointConfig],
        egress_of: Callable[[str], Egress],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        observer: BatchObserver = UNOBSERVED_BATCHES,
    ) -> None:
        """`egress_of` returns the policy for a URL; `clock` returns seconds, `now` Unix seconds."""
        self._all: list[tuple[tuple[str, ...], Endpoint]] = []
        self._by_model: dict[str, tuple[Endpoint, ...]] = {}
        for config in configs:
            for number, url in enumerate(config.urls, 1):
                endpoint = Endpoint(
                    config.name if len(config.urls) == 1 else f"{config.name}/{number}",
                    url,
                    config.api_key,
                    egress_of(url),
                    max_concurrency=config.max_concurrency or CEILING,
                    timeout_seconds=config.timeout_seconds,
                    files=config.files,
                    chat_ttft_p95=config.chat_ttft_p95,
                    priority=config.priority,
                    clock=clock,
                    now=now,
                    observer=observer,
                )
                self._all.append((config.models, endpoint))

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """Every endpoint, in the order of the configuration."""
        return tuple(endpoint for _, endpoint in self._all)

    def for_model(self, model: str) -> tuple[Endpoint, ...]:
        """The endpoints whose patterns match a model, in the order of the configuration.

        None has a model whose name is longer than `MAX_MODEL_CHARACTERS`.
        """
        if len(model) > MAX_MODEL_CHARACTERS:
            return ()
        found = self._by_model.get(model)
        if found is None:
            found = tuple(
                endpoint
                for patterns, endpoint in self._all
                if any(fnmatch.fnmatchcase(model, pattern) for pattern in patterns)
            )
            if len(self._by_model) >= KNOWN_MODELS:
                self._by_model.clear()  # a client may name any number of models
            self._by_model[model] = found
        return found

    def paused(self) -> list[PausedEndpoint]:
        """What receives no requests until a probe passes, and why."""
        return [paused for _, endpoint in self._all for paused in endpoint.paused()]

    async def run(self) -> None:
        """Probe what is paused, and read metrics, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _, endpoint in self._all:
                group.create_task(endpoint.watch())

    def close(self) -> None:
        """Close all connections."""
        for _, endpoint in self._all:
            endpoint.close()


def choose(endpoints: Sequence[Endpoint], model: str, group: bytes) -> Lane | None:
    """The ready lane for a request of a group with the same prefix; None if none is ready.

    A group stays with the replica that has the highest hash of both (rendezvous hashing, Thaler and Ravishankar 1998),
    whose prefix cache it then finds, unless that one has 1.25 times the mean load (Mirrokni et al. 2018).
    """
    lanes = [(endpoint.url, lane) for endpoint in endpoints if (lane := endpoint.lane(model)).ready()]
    if len(lanes) < 2:
        return lanes[0][1] if lanes else None
    places = sum(lane.limit for _, lane in lanes)
    share = LOAD_BOUND * (sum(lane.in_flight for _, lane in lanes) + 1) / places
    lanes.sort(key=lambda found: _weight(group, found[0]), reverse=True)
    for _, lane in lanes:
        if lane.in_flight + 1 <= math.ceil(share * lane.limit):
            return lane
    return min(lanes, key=lambda found: found[1].in_flight / found[1].limit)[1]


def _weight(group: bytes, url: str) -> bytes:
    return hashlib.blake2b(group, key=hashlib.blake2b(url.encode(), digest_size=32).digest(), digest_size=8).digest()
