"""Worker processes on one socket. One that dies is replaced. All exit with the supervisor, also if it is killed."""

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

log = logging.getLogger("filestead")

RESPAWN_SECONDS = 1.0
"""Delay before a worker is replaced, so that one that cannot start does not use all processor time."""

SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Forks `count` processes that each call `run_worker` with their number, and terminates them on a signal.

    A process that replaces a dead one has its number. `ended` is called with that number before.
    """

    def __init__(
        self, count: int, run_worker: Callable[[int], None], *, ended: Callable[[int], None] = lambda _: None
    ) -> None:
        self._count = count
        self._run_worker = run_worker
        self._ended = ended
        self._workers: dict[int, int] = {}
        self._shutting_down = False
        self._interrupted = False
        # Workers wait at the reading end: when the supervisor is killed, the pipe closes and they exit.
        self._liveness_read, self._liveness_write = os.pipe()

    def run(self) -> None:
        """Return when all workers have exited. Raises `KeyboardInterrupt` if the signal was SIGINT."""
        for signal_number in SHUTDOWN_SIGNALS:
            signal.signal(signal_number, self._shut_down)
        for number in range(self._count):
            if not self._shutting_down:
                self._spawn(number)
        while self._workers:
            pid, status = os.wait()
            number = self._workers.pop(pid)
            self._ended(number)
            if not self._shutting_down:
                log.error("worker %d exited with status %d; starting a replacement", pid, status)
                time.sleep(RESPAWN_SECONDS)
            if not self._shutting_down:
                self._spawn(number)
        if self._interrupted:
            raise KeyboardInterrupt

    def _shut_down(self, number: int, frame: FrameType | None) -> None:
        self._shutting_down = True
        self._interrupted = self._interrupted or number == signal.SIGINT
        for pid in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _spawn(self, number: int) -> None:
        # Signals are blocked during the fork until both sides are ready: the supervisor has recorded the worker, and
        # the worker no longer has the supervisor's handlers, which would ignore its only termination signal.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SHUTDOWN_SIGNALS)
        pid = os.fork()
        if pid:
            self._workers[pid] = number
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return
        status = 1
        try:
            for signal_number in SHUTDOWN_SIGNALS:
                signal.signal(signal_number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(self._liveness_write)
            threading.Thread(target=self._exit_with_supervisor, daemon=True).start()
            self._run_worker(number)
            status = 0
        except Exception:
            log.exception("worker failed")
        finally:
            os._exit(status)

    def _exit_with_supervisor(self) -> None:
        select.select([self._liveness_read], [], [])
        os.kill(os.getpid(), signal.SIGTERM)
