"""`filestead serve` reads plain flags by itself; cyclopts reads the same from them, and all that is not plain."""

import inspect
from typing import Any

import pytest

from filestead.cli.admin import app
from filestead.cli.admin.commands import find_command
from filestead.cli.admin.serving import read_plain_flags

PLAIN = [
    ("", {}),
    ("--port 80", {"port": "80"}),
    ("--port=80 --data-dir=a=b", {"port": "80", "data_dir": "a=b"}),
    ("--print-key --host ::1", {"print_key": True, "host": "::1"}),
]


@pytest.mark.parametrize(("line", "flags"), PLAIN)
def test_plain_flags_are_what_cyclopts_reads(line: str, flags: dict[str, Any]) -> None:
    assert read_plain_flags(line.split()) == flags
    function, bound, _ = app.app.parse_args(["serve", *line.split()], exit_on_error=False, print_error=False)
    assert isinstance(bound, inspect.BoundArguments)
    assert (function.__name__, bound.arguments) == ("serve", flags)


@pytest.mark.parametrize(
    "line",
    [
        *("--help", "-h", "data", "--port", "--port=", "--port -1", "--prot 80", "--port 80 --port 81", "--data_dir x"),
        *("--print-key=true", "--print-key yes", "--bootstrap-key x", "-- --port 80", "--no-print-key", "-port 80"),
    ],
)
def test_whatever_is_not_plain_is_left_to_cyclopts(line: str) -> None:
    assert read_plain_flags(line.split()) is None
    command: Any = find_command(["serve", *line.split()])
    assert command.func is app.run
