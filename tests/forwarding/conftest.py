"""A Filestead server with a model server behind it, whose every byte the tests decide."""

from collections.abc import Iterator

import pytest

from tests.support.event_server import EventServer
from tests.support.servers import Server

UPSTREAM_KEY = "sk-upstream-0123456789"


@pytest.fixture(scope="module")
def upstream() -> Iterator[EventServer]:
    """A model server with a key of its own."""
    with EventServer(key=UPSTREAM_KEY, models=("m", "org/n")) as made:
        yield made


@pytest.fixture(scope="module")
def server(upstream: EventServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Filestead server of the tests of one module."""
    with Server(
        tmp_path_factory.mktemp("forwarding") / "data",
        upstream_url=upstream.url,
        upstream_api_key=UPSTREAM_KEY,
        upstream_timeout=30,
        pass_through_paths="/v1/tokenize",
        uploads_per_minute=0,
    ) as made:
        yield made


@pytest.fixture(scope="module")
def impatient(upstream: EventServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that waits for the model server for 2 seconds only, which a busy machine may take for any request."""
    with Server(
        tmp_path_factory.mktemp("impatient") / "data",
        upstream_url=upstream.url,
        upstream_api_key=UPSTREAM_KEY,
        upstream_timeout=2,
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> None:
    """Each test begins with a server that behaves well, and without recorded requests."""
    if "upstream" in request.fixturenames:
        made: EventServer = request.getfixturevalue("upstream")
        made.behave = None
        made.requests.clear()
