"""The readers of bytes of clients, on the committed corpora and on mutations of them: others every day.

`make torture` runs many more. `python -m tests.fuzz` looks for new inputs by coverage and adds them to a corpus.
"""

import itertools
import os
import time

import pytest

from tests.support import rotation

from .corpus import load, mutations
from .readers import READERS

COUNTS = {"multipart": 8_000, "ranges": 8_000, "jsonl": 1_500, "head": 1_000}
"""Less than a second each."""
TORTURE_SECONDS = 60


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
