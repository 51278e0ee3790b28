"""Termination by a signal, so that the parent process sees which signal it was."""

import os
import signal
import sys
from typing import NoReturn


def exit_on_ctrl_c() -> NoReturn:
    """Print a line to standard error and terminate by SIGINT. Safe in a signal handler."""
    # A terminal has just echoed ^C on this line.
    line_break = "\n" if os.isatty(2) else ""
    os.write(2, f"{line_break}filestead: stopped by Ctrl-C\n".encode())
    terminate_by_signal(signal.SIGINT)


def terminate_by_signal(number: signal.Signals) -> NoReturn:
    """Terminate this process by the signal."""
    sys.stdout = None  # Discard buffered output.
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # The init process of a container ignores the signal.
