"""What the tests with real clients share."""

import os
from collections.abc import Iterator

import httpx2
import pytest
from openai import OpenAI

from tests.e2e.openai_clients import connect
from tests.support.servers import Server


@pytest.fixture(scope="session", autouse=True)
def no_openai_environment() -> Iterator[None]:
    """The clients read OPENAI_*; what the developer has set must not reach them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("OPENAI_")]:
            patch.delenv(name)
        yield


@pytest.fixture
def sent() -> list[httpx2.Request]:
    """Every request that `client` has sent."""
    return []


@pytest.fixture
def client(server: Server, sent: list[httpx2.Request]) -> Iterator[OpenAI]:
    """The official client with the server's key, without retries."""
    with connect(server, sent) as client:
        yield client
