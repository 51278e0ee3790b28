"""Installations that a module of tests shares, since starting one takes longer than a kill; and a small disk."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.small_disk import DISK
from tests.crash.steps import Installation
from tests.support.servers import run_command


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Installation]]:
    """The installation while no test uses it; a test that fails does not give it back, and the next makes a new one.

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
def installation(idle: list[Installation], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    found = (
        idle.pop() if idle else Installation(tmp_path_factory.mktemp("kills") / "data", sweep_seconds=3_600)
    )  # no sweep gets among the steps
    try:
        yield found
        found.check()
    except BaseException:
        found.victim.disarm()
        found.victim.kill()
        raise
    idle.append(found)


@pytest.fixture(scope="module")
def idle_sweeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Installation]]:
    place: list[Installation] = []
    yield place
    for installation in place:
        installation.victim.kill()


@pytest.fixture
def sweeping(idle_sweeping: list[Installation], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose server sweeps all the time."""
    data_dir = tmp_path_factory.mktemp("sweeps") / "data"
    found = idle_sweeping.pop() if idle_sweeping else Installation(data_dir, sweep_seconds=0.1)
    try:
        yield found
        found.check()
    except BaseException:
        found.victim.disarm()
        found.victim.kill()
        raise
    idle_sweeping.append(found)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("mounting a small disk takes root, and CI must have it")
        pytest.skip("mounting a small disk takes root: disk-full behaviour is NOT tested here")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "filestead-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
