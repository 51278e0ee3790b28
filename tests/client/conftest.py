"""Fixtures of the client's tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client.any_client import KINDS, AnyClient
from tests.client.proxy import Fault, Proxy
from tests.support.servers import Server

Connect = Callable[..., AnyClient]
ConnectWithFaults = Callable[..., tuple[AnyClient, Proxy]]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=KINDS)
def connect(request: pytest.FixtureRequest, server: Server) -> Iterator[Connect]:
    """Create a client of either kind for the server."""
    clients = []

    def make(**options: Any) -> AnyClient:
        clients.append(AnyClient(request.param, **{"base_url": server.base_url, "api_key": server.key, **options}))
        return clients[-1]

    yield make
    for shell in clients:
        shell.close()


@pytest.fixture
def client(connect: Connect) -> AnyClient:
    """A client of either kind, connected to the server."""
    return connect()


@pytest.fixture
def connect_with_faults(connect: Connect, server: Server) -> Iterator[ConnectWithFaults]:
    """Create a client behind a proxy that injects the given faults, one per exchange."""
    proxies = []

    def make(*faults: Fault, **options: Any) -> tuple[AnyClient, Proxy]:
        proxies.append(Proxy(server.port, list(faults)))
        return connect(base_url=proxies[-1].base_url, **options), proxies[-1]

    yield make
    for proxy in proxies:
        proxy.__exit__(None, None, None)
