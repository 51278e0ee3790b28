"""Fixtures of the client's tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client.proxy import Fault, Proxy
from tests.client.shells import KINDS, Shell
from tests.support.servers import Server

Connect = Callable[..., Shell]
Spoil = Callable[..., tuple[Shell, Proxy]]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=KINDS)
def connect(request: pytest.FixtureRequest, server: Server) -> Iterator[Connect]:
    """Make a client of either kind for the server."""
    shells = []

    def make(**options: Any) -> Shell:
        shells.append(Shell(request.param, **{"base_url": server.base_url, "api_key": server.key, **options}))
        return shells[-1]

    yield make
    for shell in shells:
        shell.close()


@pytest.fixture
def files(connect: Connect) -> Shell:
    """A client of either kind, connected to the server."""
    return connect()


@pytest.fixture
def spoil(connect: Connect, server: Server) -> Iterator[Spoil]:
    """Make a client whose exchanges are spoiled, one fault each."""
    proxies = []

    def make(*faults: Fault, **options: Any) -> tuple[Shell, Proxy]:
        proxies.append(Proxy(server.port, list(faults)))
        return connect(base_url=proxies[-1].base_url, **options), proxies[-1]

    yield make
    for proxy in proxies:
        proxy.__exit__(None, None, None)
