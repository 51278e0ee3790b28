"""Which process of pytest-xdist runs which tests: those that share fixtures of their module stay together.

Otherwise each process would make these fixtures, and some take a minute. All other tests go to the process that is free.
"""

import functools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[2]
TOGETHER = 4
"""Tests of a module without such fixtures that are sent at once: the scheduler takes a while for each group."""
SHARED = re.compile(r"""scope=["'](module|package)["']""")


@functools.cache
def shares_fixtures(module: str) -> bool:
    """Whether a test module, or the conftest.py beside it, has fixtures that live longer than a test."""
    path = ROOT / module
    return any(each.is_file() and SHARED.search(each.read_text()) for each in (path, path.with_name("conftest.py")))


class ModuleScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Large groups begin first; small ones fill the end."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        self._groups: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def _split_scope(self, nodeid: str) -> str:
        if nodeid not in self._groups:
            module = nodeid.partition("::")[0]
            number = 0 if shares_fixtures(module) else self._counts[module] // TOGETHER
            self._counts[module] += 1
            self._groups[nodeid] = f"{module} {number}"
        return self._groups[nodeid]
