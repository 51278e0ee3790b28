"""Installations that the tests of several nodes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes.places import Places
from tests.support.databases import shared_postgres


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    made = Places(tmp_path)
    yield made
    for name in made.made:
        shared_postgres().drop(name)
