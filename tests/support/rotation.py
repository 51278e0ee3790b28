"""Which cases of a long test run in `make test`: one share of them each day, and all in `make torture`.

`@pytest.mark.rotating(3)` on a test with many parameters divides its cases into three shares. Which one runs is decided
by the day, or by `TEST_SHARE` (a number) to repeat the run of another day. The summary says the number. Different tests
begin with different shares: if each of them has a single case, a third of the tests runs each day. A case that is asked
for by its name, as in `pytest 'tests/a.py::test_b[c]'`, runs on any day.
"""

import os
import time
import zlib
from collections import Counter
from collections.abc import Container

import pytest

VARIABLE = "TEST_SHARE"
DAY_SECONDS = 86_400


def today() -> int:
    """The number of the share of this run; set for the processes that the run starts, which may outlast midnight."""
    return int(os.environ.setdefault(VARIABLE, str(int(time.time()) // DAY_SECONDS)))


def left_out(items: list[pytest.Item], share: int, asked_for: Container[str] = ()) -> list[pytest.Item]:
    """The cases of rotating tests that are not in this share, nor asked for. Every case is in one of the shares."""
    seen: Counter[str] = Counter()
    found = []
    for item in items:
        mark = item.get_closest_marker("rotating")
        if mark is None:
            continue
        test = item.nodeid.partition("[")[0]
        is_of_today = (zlib.crc32(test.encode()) + seen[test] + share) % mark.args[0] == 0
        if not is_of_today and item.nodeid not in asked_for:
            found.append(item)
        seen[test] += 1
    return found
