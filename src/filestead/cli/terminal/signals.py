"""How a signal ends a command: the caller sees which signal it was."""

import os
import signal
import sys
from typing import NoReturn


def exit_on_ctrl_c() -> NoReturn:
    """Say so in a line on standard error, and end as SIGINT ends a program. Safe in a signal handler."""
    # A terminal has just shown ^C at the beginning of this line.
    begin = "\n" if os.isatty(2) else ""
    os.write(2, f"{begin}filestead: stopped by Ctrl-C\n".encode())
    terminate_by_signal(signal.SIGINT)


def terminate_by_signal(number: signal.Signals) -> NoReturn:
    """End as the signal ends a program."""
    sys.stdout = None  # What is still buffered is not written at exit.
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # The first process of a container is not ended by signals.
