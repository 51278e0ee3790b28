"""The official Node package at one address: `tests/e2e/node/models.mjs` makes the checks, one JSON line each."""

import pytest

from tests.e2e.node_checks import run_checks
from tests.support.servers import Server

CHECKS = [
    *("chat", "streamed_chat", "responses", "embeddings", "models", "transcription"),
    "files_in_chat_and_responses",
]

pytestmark = pytest.mark.embedded("rows and bytes are not concerned")


@pytest.fixture(scope="module")
def outcomes(server: Server) -> dict[str, str | None]:
    """Check -> what went wrong, if anything."""
    return run_checks("models.mjs", server)


def test_every_check_ran(outcomes: dict[str, str | None]) -> None:
    assert list(outcomes) == CHECKS


@pytest.mark.parametrize("check", CHECKS)
def test_node(outcomes: dict[str, str | None], check: str) -> None:
    assert outcomes[check] is None, outcomes[check]
