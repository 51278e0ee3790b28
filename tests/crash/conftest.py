"""Installations that a module of tests shares, since starting one takes longer than a kill."""

from collections.abc import Iterator

import pytest

from tests.crash.steps import Installation
from tests.support.servers import run_command


@pytest.fixture(scope="module")
def ashore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Installation]]:
    """Where the installation lies between two tests; a test that fails leaves it behind, and the next makes a new one.

    At the end the two commands look at it as an operator would.
    """
    place: list[Installation] = []
    yield place
    for installation in place:
        installation.check(latest=len(installation.contents))
        installation.victim.kill()
        for command in (["sweep"], ["verify", "--deep", "--json"]):
            done = run_command(installation.data_dir, *command)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def installation(ashore: list[Installation], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    found = ashore.pop() if ashore else Installation(tmp_path_factory.mktemp("kills") / "data")
    try:
        yield found
        found.check()
    except BaseException:
        found.victim.disarm()
        found.victim.kill()
        raise
    ashore.append(found)


@pytest.fixture(scope="module")
def sweeping_ashore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Installation]]:
    place: list[Installation] = []
    yield place
    for installation in place:
        installation.victim.kill()


@pytest.fixture
def sweeping(sweeping_ashore: list[Installation], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose server sweeps all the time."""
    data_dir = tmp_path_factory.mktemp("sweeps") / "data"
    found = sweeping_ashore.pop() if sweeping_ashore else Installation(data_dir, sweep_seconds=0.1)
    try:
        yield found
        found.check()
    except BaseException:
        found.victim.disarm()
        found.victim.kill()
        raise
    sweeping_ashore.append(found)
