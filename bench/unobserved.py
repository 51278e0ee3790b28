"""`filestead` with a server that records no metrics and logs no lines of requests: the reference of `signals.py`."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from filestead.api.http.requests import UnobservedRequests
from filestead.cli.main import main as filestead
from filestead.domain.batches.observation import UNOBSERVED_BATCHES
from filestead.domain.forwarding.observation import UNOBSERVED_FORWARDING
from filestead.domain.observation import UNOBSERVED
from filestead.server import run


class NoSignals:
    """In the place of `Signals`."""

    observer = UNOBSERVED
    batch_observer = UNOBSERVED_BATCHES
    forwarding_observer = UNOBSERVED_FORWARDING
    requests = UnobservedRequests()

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def request_rejected(self, status: int) -> None:
        pass

    async def collect(self, _: Any) -> bytes:
        return b""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield


def main() -> None:
    """Be `filestead`, without signals."""
    run.Signals = NoSignals  # type: ignore[assignment, misc]
    filestead()
