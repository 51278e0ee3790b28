"""The configured endpoints, their lanes, and the choice among replicas: what a scheduler of requests uses."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filestead.egress import Egress
from filestead.inference.exchanges import Exchange


@dataclass(frozen=True)
class EndpointConfig:
    """An entry of the configuration: equal servers at several URLs are its replicas."""

    name: str
    urls: tuple[str, ...]
    api_key: str | None = None
    models: tuple[str, ...] = ("*",)
    """Patterns as of `fnmatch`."""
    max_concurrency: int | None = None
    timeout_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class PausedEndpoint:
    """An endpoint that receives no requests now; `model` is None if that is so for every model."""

    name: str
    model: str | None
    reason: str
    since: float
    """Unix seconds."""


class Lane:
    """The requests of one model to one endpoint."""

    def ready(self) -> bool:
        """Whether a request can be sent now."""
        raise NotImplementedError

    def try_acquire(self, size: int) -> bool:
        """Take a place for a request of `size` bytes. Whoever has it must call `send`, which returns it."""
        raise NotImplementedError

    def release(self, size: int) -> None:
        """Return a place without a request."""
        raise NotImplementedError

    async def send(self, path: str, body: bytes, *, idempotency_key: str, model: str) -> Exchange:
        """Send a request in a place that the caller holds, and return the place. Raises nothing but `CancelledError`.

        `path` is that of a line (`/v1/chat/completions`).
        """
        raise NotImplementedError

    async def wait_ready(self) -> None:
        """Wait until a request can be sent."""
        raise NotImplementedError

    def paused_reason(self) -> str | None:
        """Why no requests are sent, other than that all places are taken; None if they are."""
        raise NotImplementedError


class Endpoint:
    """One server: a replica of an entry of the configuration."""

    name: str
    url: str

    def lane(self, model: str) -> Lane:
        """The lane of a model; the same one for each call."""
        raise NotImplementedError


class Endpoints:
    """All configured endpoints."""

    def __init__(
        self,
        configs: Sequence[EndpointConfig],
        egress_of: Callable[[str], Egress],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        raise NotImplementedError

    def __bool__(self) -> bool:
        raise NotImplementedError

    def for_model(self, model: str) -> tuple[Endpoint, ...]:
        """The endpoints whose patterns match a model, in the order of the configuration."""
        raise NotImplementedError

    def paused(self) -> list[PausedEndpoint]:
        """What receives no requests now, and why."""
        raise NotImplementedError

    async def run(self) -> None:
        """Probe what is paused, and read metrics, until cancelled."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections."""
        raise NotImplementedError


def choose(endpoints: Sequence[Endpoint], model: str, group: bytes) -> Lane | None:
    """The ready lane for a request of a group with the same prefix; None if none is ready."""
    raise NotImplementedError
