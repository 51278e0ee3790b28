"""What `filestead serve` does with its flags, and how plain ones are read."""

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from filestead import settings
from filestead.cli.terminal.signals import exit_on_ctrl_c


def serve(flags: Mapping[str, Any]) -> None:
    """Serve with the values of flags, by the names of settings; None stands for a flag that is not given."""
    from filestead.server import run  # noqa: PLC0415 - loaded after the flags have been found to be right

    # A KeyboardInterrupt is lost when it comes in a finalizer or a callback, and the server would not end.
    signal.signal(signal.SIGINT, lambda *_: exit_on_ctrl_c())
    run.serve(settings.load(**flags))


def read_plain_flags(words: Sequence[str]) -> dict[str, str | bool] | None:
    """The values of `--name value`, `--name=value` and `--switch`; None if there is anything else, or a mistake."""
    known = {f"--{name.replace('_', '-')}": name for name, _ in settings.flags()}
    flags: dict[str, str | bool] = {}
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        name = known.get(flag)
        if name is None or name in flags:
            return None
        if settings.is_switch(name):
            if equals:
                return None
            flags[name] = True
            continue
        given = value if equals else next(rest, "")
        if not given or given.startswith("-"):
            return None
        flags[name] = given
    return flags
