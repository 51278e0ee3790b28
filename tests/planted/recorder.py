"""A plugin of the pytest run of a planted bug (`-p tests.planted.recorder`): writes which code ran and how tests ended.

Lines of JSON, in the file that `PLANTED_RECORD` names.
"""

import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import filestead

RECORD = "PLANTED_RECORD"


def _write(**values: object) -> None:
    with Path(os.environ[RECORD]).open("a") as file:
        file.write(json.dumps(values) + "\n")


def pytest_sessionstart() -> None:
    _write(package=str(Path(filestead.__file__).parent))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    report = yield
    error = None if call.excinfo is None else call.excinfo.value
    kinds = sorted({_kind(leaf) for leaf in _leaves(error)}) if report.failed and error is not None else []
    text = "" if not kinds else str(error).partition("\n")[0][:200]
    _write(test=item.nodeid, when=report.when, outcome=report.outcome, kinds=kinds, text=text)
    return report


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    elif error is not None:
        yield error


def _kind(error: BaseException) -> str:
    """The name of the exception; that of a test that waited too long is `Timeout`, and not that of `pytest.fail`."""
    if isinstance(error, pytest.fail.Exception):
        return "Timeout" if "Timeout" in str(error) else AssertionError.__name__
    return AssertionError.__name__ if isinstance(error, AssertionError) else type(error).__name__
