"""Requests on one upload in parts at the same time, at two nodes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.nodes.fleet import fleet
from tests.support.databases import shared_postgres
from tests.support.seaweedfs import shared_server
from tests.support.servers import KEY, run_command
from tests.support.upload_races import RACES, Racers


@pytest.fixture(scope="module")
def racers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Racers]:
    folder = tmp_path_factory.mktemp("racers")
    with fleet(folder, 2, shared_postgres(), shared_server(), sweep_seconds=0.1) as nodes:
        made = Racers([node.base_url for node in nodes.alive], KEY, nodes.place)
        yield made
        made.close()
        verified = run_command(Path("nowhere"), "verify", "--deep", place=nodes.place)
        assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
def test_requests_at_once_on_two_nodes(racers: Racers, race: Callable[[Racers], None]) -> None:
    racers.delete_files()
    race(racers)
