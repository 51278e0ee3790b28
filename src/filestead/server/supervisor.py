"""Several worker processes on one socket. One that dies is replaced; they end with the supervisor, however it ends."""

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
"""Pause before a worker is replaced, so that one that cannot start does not keep the machine busy."""

ENDING = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Forks `count` processes that each call `work`, and waits for a signal to end them."""

    def __init__(self, count: int, work: Callable[[], None]) -> None:
        self._count = count
        self._work = work
        self._workers: set[int] = set()
        self._ending = False
        self._interrupted = False
        # A worker holds the reading end: when the supervisor is killed, the pipe closes and the worker stops.
        self._alive_read, self._alive_write = os.pipe()

    def run(self) -> None:
        """Returns when every worker has ended; raises `KeyboardInterrupt` if Ctrl-C has ended them."""
        for number in ENDING:
            signal.signal(number, self._end)
        for _ in range(self._count):
            if not self._ending:
                self._spawn()
        while self._workers:
            pid, status = os.wait()
            self._workers.discard(pid)
            if not self._ending:
                log.error("worker %d ended with status %d and is replaced", pid, status)
                time.sleep(RESPAWN_SECONDS)
            if not self._ending:
                self._spawn()
        if self._interrupted:
            raise KeyboardInterrupt

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True
        self._interrupted = self._interrupted or number == signal.SIGINT
        for pid in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _spawn(self) -> None:
        # A signal that comes during the fork waits until both sides are ready for it: the supervisor knows the new
        # worker, and the worker no longer has the supervisor's handlers, which would swallow its only signal to end.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        pid = os.fork()
        if pid:
            self._workers.add(pid)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return
        status = 1
        try:
            for number in ENDING:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(self._alive_write)
            threading.Thread(target=self._end_with_supervisor, daemon=True).start()
            self._work()
            status = 0
        except Exception:
            log.exception("worker failed")
        finally:
            os._exit(status)

    def _end_with_supervisor(self) -> None:
        select.select([self._alive_read], [], [])
        os.kill(os.getpid(), signal.SIGTERM)
