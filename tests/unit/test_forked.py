"""When a command of a test is a fork."""

import os

import pytest

from tests.support.forked import can_fork


@pytest.mark.parametrize("changed", [{}, {"FILESTEAD_PORT": "1"}, {"PYTHONPATH": os.path.dirname(os.__file__)}])
def test_settings_do_not_need_an_interpreter(changed: dict[str, str]) -> None:
    assert can_fork(os.environ | changed)


@pytest.mark.parametrize("changed", [{"LD_PRELOAD": "a.so"}, {"PYTHONPATH": "/nowhere"}, {"MALLOC_ARENA_MAX": "9"}])
def test_what_matters_at_a_start_needs_one(changed: dict[str, str]) -> None:
    assert not can_fork(os.environ | changed)
