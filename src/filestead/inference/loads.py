"""Asks an endpoint how busy it is: at `/metrics`, and at `/slots` of llama.cpp, which has no metrics by default."""

import math
from collections.abc import Callable
from dataclasses import replace

import msgspec

from filestead.http_client.client import Client
from filestead.http_client.connections import Response
from filestead.http_client.errors import EndpointFailure
from filestead.inference.limiter import Load
from filestead.inference.metrics import load_of

LLAMA = "llamacpp"
ASK_SECONDS = 10.0
METRICS_SECONDS = 2.0
NO_METRICS_SECONDS = 300.0
"""After which a server that says nothing is asked again."""


class LoadSource:
    """The load of one endpoint."""

    def __init__(self, root: Client, clock: Callable[[], float]) -> None:
        """`root` is the client for paths beside `/v1`; `clock` returns seconds."""
        self._root = root
        self._clock = clock
        self._due_at = -math.inf

    def is_due(self) -> bool:
        """Whether it is time to ask."""
        return self._clock() >= self._due_at

    async def read(self) -> Load | None:
        """Ask; None if the endpoint does not say."""
        try:
            load = await self.ask()
        except EndpointFailure:
            self._due_at = self._clock() + METRICS_SECONDS
            return None
        self._due_at = self._clock() + (NO_METRICS_SECONDS if load is None else METRICS_SECONDS)
        return load

    async def ask(self) -> Load | None:
        """Ask at once. Raises `EndpointFailure`."""
        metrics = await self._root.request("GET", "/metrics", seconds=ASK_SECONDS)
        load = load_of(metrics.body.decode(errors="replace")) if metrics.status == 200 else None
        if load is not None and load.server != LLAMA:
            return load
        slots = slots_of(await self._root.request("GET", "/slots", seconds=ASK_SECONDS))
        if slots is None:
            return load
        return replace(load or Load(running=slots[0], server=LLAMA), slots=slots[1])


class _Slot(msgspec.Struct):
    is_processing: bool | None = None
    state: int | None = None
    """Of older builds: 0 is idle."""


def slots_of(response: Response) -> tuple[int, int] | None:
    """How many slots are in use, and how many there are; None if the response does not say."""
    if response.status != 200:
        return None
    try:
        slots = msgspec.json.decode(response.body, type=list[_Slot])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not slots or any(slot.is_processing is None and slot.state is None for slot in slots):
        return None
    return sum(slot.is_processing or bool(slot.state) for slot in slots), len(slots)
