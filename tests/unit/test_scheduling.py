"""Which tests stay in one process."""

import pytest

from tests.support.scheduling import shares_fixtures


@pytest.mark.parametrize(
    ("module", "shared"),
    [
        ("tests/api/test_authorization.py", True),
        ("tests/api/test_files.py", True),
        ("tests/client/test_parts.py", True),
        ("tests/conformance/test_retries.py", False),
        ("tests/unit/test_filters.py", False),
    ],
    ids=["its own", "the server of all", "by a fixture of the folder", "one for each test", "none"],
)
def test_modules_that_share_fixtures_stay_together(module: str, shared: bool) -> None:
    assert shares_fixtures(module) is shared
