"""The official Node package, unmodified, runs batches: `tests/e2e/node/batches.mjs` makes the checks."""

import pytest

from tests.e2e.node_checks import run_checks
from tests.support.servers import Server

CHECKS = ["run_to_the_end", "all_pages", "cancelled_too_late", "refused"]


@pytest.fixture(scope="module")
def outcomes(server: Server) -> dict[str, str | None]:
    """Check -> what went wrong, if anything."""
    return run_checks("batches.mjs", server)


def test_every_check_ran(outcomes: dict[str, str | None]) -> None:
    assert list(outcomes) == CHECKS


@pytest.mark.parametrize("check", CHECKS)
def test_case_45_the_official_node_package(outcomes: dict[str, str | None], check: str) -> None:
    assert outcomes[check] is None, outcomes[check]
