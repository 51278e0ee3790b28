"""Installations that a module of tests shares, since starting one takes longer than a kill; and a small disk."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.small_disk import DISK
from tests.crash.steps import Installation, Installations
from tests.support.servers import run_command


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installations]:
    """At the end the two commands look at each as an operator would. No sweep gets among the steps."""
    made = Installations(lambda: Installation(tmp_path_factory.mktemp("kills") / "data", sweep_seconds=3_600))
    yield made
    for data_dir in made.close():
        for command in (["sweep"], ["verify", "--deep", "--json"]):
            done = run_command(data_dir, *command)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def installation(installations: Installations) -> Iterator[Installation]:
    with installations.one() as found:
        yield found


@pytest.fixture(scope="module")
def sweeping_installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installations]:
    made = Installations(lambda: Installation(tmp_path_factory.mktemp("sweeps") / "data", sweep_seconds=0.1))
    yield made
    list(made.close())


@pytest.fixture
def sweeping(sweeping_installations: Installations) -> Iterator[Installation]:
    """An installation whose server sweeps all the time."""
    with sweeping_installations.one() as found:
        yield found


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
