"""Runs a check in a process of its own, before workers are forked from this one."""

import logging
import os
from collections.abc import Callable

from filestead.domain.errors import CannotStart, DomainError

log = logging.getLogger("filestead")


def in_a_child(check: Callable[[], None]) -> None:
    """Run a check in a child process. Raises `CannotStart` with the message of its `DomainError`.

    The driver of object stores starts threads at its first use. A fork does not copy them, so that every worker which
    is forked afterwards would wait for them without end.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(reading)
            check()
            status = 0
        except DomainError as error:
            os.write(writing, str(error).encode(errors="replace"))
        except Exception:
            log.exception("the check of the blob store failed")
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as messages:
        message = messages.read().decode(errors="replace")
    _, ended = os.waitpid(pid, 0)
    if ended:
        raise CannotStart(message or "the check of the blob store ended without a result: see the log")
