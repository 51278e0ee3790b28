"""Requests on one upload in parts at the same time, at the processes of one node."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.servers import KEY, Server, run_command
from tests.support.upload_races import RACES, Racers


@pytest.fixture(scope="module")
def racers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Racers]:
    folder = tmp_path_factory.mktemp("racers") / "data"
    with Server(folder, workers=3, uploads_per_minute=0, sweep_seconds=0.1) as server:
        made = Racers([server.base_url], KEY, server.place)
        yield made
        made.close()
        verified = run_command(folder, "verify", "--deep")
        assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
def test_requests_at_once_on_several_processes(racers: Racers, race: Callable[[Racers], None]) -> None:
    racers.delete_files()
    race(racers)
