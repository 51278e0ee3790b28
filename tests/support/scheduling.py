"""Which process of pytest-xdist runs which tests: those that share fixtures of their module stay together.

Otherwise each process would start their servers. All other tests go one by one to the process that is free.
"""

import functools
import re
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[2]
SHARED = re.compile(
    r"""^@pytest\w*\.fixture\([^)]*scope=["'](?:module|package)["'][^)]*\)\n(?:async )?def (\w+)""", re.MULTILINE
)


@functools.cache
def shares_fixtures(module: str) -> bool:
    """Whether the tests of a module use fixtures that live longer than a test: its own, or those of a conftest.py."""
    path = ROOT / module
    settings = [folder / "conftest.py" for folder in path.parents if folder.is_relative_to(ROOT / "tests")]
    texts = [each.read_text() for each in (path, *settings) if each.is_file()]
    names = {name for text in texts for name in SHARED.findall(text)}
    users = [path, *settings[:-1]]  # that of all tests only defines them
    words = {word for each in users if each.is_file() for word in re.findall(r"\w+", each.read_text())}
    return not names.isdisjoint(words)


class ModuleScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Large groups begin first; tests of their own fill the end."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if shares_fixtures(module) else nodeid
