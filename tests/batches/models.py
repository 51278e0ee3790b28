"""The simulated model server on a thread of its own, for tests that talk to a Filestead server in another process."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self

from tests.support.model_server import ModelServer


class ThreadedModels:
    """A running `ModelServer`; its lists may be read, and faults appended, from the test."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(server.start())
        self.url = server.url

    def start(self) -> None:
        """Listen again, on the same port."""
        self._call(self.server.start())

    def stop(self) -> None:
        """Refuse connections, and reset those that are open."""
        self._call(self.server.stop())

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self.server.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
