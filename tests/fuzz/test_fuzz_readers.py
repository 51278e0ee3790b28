"""The readers of bytes of clients, on the committed corpora and on mutations of them: others every day.

`make torture` runs many more, and looks for inputs that reach new code. `python -m tests.fuzz` adds them to a corpus.
"""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import rotation

from .corpus import load, mutations
from .readers import READERS

COUNTS = {"multipart": 8_000, "ranges": 8_000, "jsonl": 1_500, "head": 1_000}
"""Less than a second each."""
TORTURE_SECONDS = 45
ATHERIS = "atheris==3.0.0"


def run(reader: str, data: bytes) -> None:
    try:
        READERS[reader](data)
    except BaseException as error:
        error.add_note(f"the input of {reader}: {data!r}")
        raise


@pytest.mark.parametrize("reader", READERS)
def test_every_input_of_the_corpus(reader: str) -> None:
    inputs = load(reader)
    assert len(inputs) >= 20
    for data in inputs:
        run(reader, data)


@pytest.mark.parametrize("reader", READERS)
def test_mutations_of_the_corpus(reader: str) -> None:
    for data in itertools.islice(mutations(reader, rotation.today()), COUNTS[reader]):
        run(reader, data)


@pytest.mark.torture
@pytest.mark.parametrize("reader", READERS)
def test_many_mutations_of_the_corpus(reader: str) -> None:
    seed = int(os.environ.get("FUZZ_SEED", "0")) or time.time_ns()
    until, count = time.monotonic() + TORTURE_SECONDS, 0
    for data in mutations(reader, seed):
        run(reader, data)
        count += 1
        if time.monotonic() > until:
            break
    print(f"{reader}: {count} inputs, FUZZ_SEED={seed}")


@pytest.fixture(scope="session")
def atheris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a package that does not exist for every machine."""
    folder = tmp_path_factory.mktemp("atheris")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", folder, ATHERIS]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if installed.returncode:
        pytest.skip(f"{ATHERIS} cannot be installed here: {installed.stderr.strip()[-300:]}")
    return folder


@pytest.mark.torture
@pytest.mark.parametrize("reader", READERS)
def test_inputs_that_reach_new_code(reader: str, atheris: Path) -> None:
    paths = os.pathsep.join([str(atheris), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "tests.fuzz", "--check", reader, str(TORTURE_SECONDS)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3_000:]
    statistics = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
    print(f"{reader}: {statistics}")
    assert statistics
