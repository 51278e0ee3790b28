"""Which keys a header can carry, and which names a new key may have. What no command line can say is here."""

import pytest

from filestead.domain.access import MAX_SECRET_CHARACTERS, require_name, secret_fault
from filestead.domain.errors import BadName

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@pytest.mark.parametrize("key", ["x", "My API Key", "a  b", VISIBLE, f"a {VISIBLE} z", "k" * MAX_SECRET_CHARACTERS])
def test_keys_that_travel(key: str) -> None:
    assert secret_fault(key) is None


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "empty"),
        (" ", "blank"),
        (" key", "begins or ends with a blank"),
        ("key ", "begins or ends with a blank"),
        ("key\n", "begins or ends with a blank"),
        ("a\tb", "control"),
        ("a\r\nb", "control"),
        ("a\x00b", "control"),
        ("a\x7fb", "control"),
        ("Schl\u00fcssel", "not ASCII"),
        ("a\u00a0b", "not ASCII"),
        ("a\udcffb", "not ASCII"),
        ("k" * (MAX_SECRET_CHARACTERS + 1), "longer than"),
    ],
)
def test_keys_that_do_not(key: str, reason: str) -> None:
    assert reason in (secret_fault(key) or "")


@pytest.mark.parametrize("name", ["a\x00b", "a\r", "\n", "\x00"])
def test_names_with_controls(name: str) -> None:
    with pytest.raises(BadName) as raised:
        require_name("project", name)
    assert str(raised.value).isprintable()
