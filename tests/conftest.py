"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the default settings, but for the upload rate, which would slow the tests down."""
    with Server(tmp_path_factory.mktemp("server") / "data", uploads_per_minute=0) as running:
        yield running


@pytest.fixture(scope="session")
def conformance_data() -> Path:
    """The folder with outside data; a clone without it skips, CI fails."""
    folder = os.environ.get("FILESTEAD_CONFORMANCE_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    if os.environ.get("CI"):
        pytest.fail("FILESTEAD_CONFORMANCE_DATA does not name a folder, and CI must have it")
    pytest.skip("FILESTEAD_CONFORMANCE_DATA is not set: the official description is not at hand")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, like the server."""
    return "asyncio"
