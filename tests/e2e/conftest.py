"""What the tests with real clients share."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_openai_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients read OPENAI_*; what the developer has set must not reach them."""
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        monkeypatch.delenv(name)
