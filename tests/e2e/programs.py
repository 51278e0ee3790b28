"""The outside programs that these tests run: without one a clone skips, and CI fails."""

import os
import warnings

import pytest

from tests.support.preflight import find


def find_program(name: str) -> str:
    """The path of an installed program."""
    found = find(name)
    if found is None:
        give_up(f"{name} is not installed")
    return found


def give_up(reason: str) -> None:
    """Skip so that nobody overlooks it; in CI a part that cannot be tested is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI must have it")
    warnings.warn(f"{reason}: tests are skipped", stacklevel=2)
    pytest.skip(reason)
