"""A Filestead server with a model server behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batches.models import ThreadedModels
from tests.support.model_server import ModelServer
from tests.support.servers import Server


@pytest.fixture(scope="module")
def models() -> Iterator[ThreadedModels]:
    """A model server that responds at once, with the models m and n."""
    with ThreadedModels(ModelServer(instant=True, models=("m", "n"))) as made:
        yield made


@pytest.fixture(scope="module")
def server(models: ThreadedModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Filestead server of the tests of one module."""
    folder: Path = tmp_path_factory.mktemp("batches")
    with Server(
        folder / "data", upstream_url=models.url, upstream_timeout=2, batch_cancel_seconds=1, uploads_per_minute=0
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> None:
    """Each test begins without faults and without recorded requests."""
    if "models" in request.fixturenames:
        made: ThreadedModels = request.getfixturevalue("models")
        made.server.script = None
        made.server.faults.clear()
        made.server.requests.clear()
