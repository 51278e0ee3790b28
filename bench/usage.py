"""What a process uses: memory and processor time, each with everything below it."""

import threading
from types import TracebackType
from typing import Self

import psutil

from bench.plan import MIB

SAMPLE_SECONDS = 0.02


def resident(pid: int) -> float:
    """MiB of a process and everything below it."""
    process = psutil.Process(pid)
    return sum(member.memory_info().rss for member in [process, *process.children(recursive=True)]) / MIB


class Peak:
    """The highest value of `resident` within a `with`."""

    def __init__(self, pid: int) -> None:
        self.mib = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, resident(self._pid))
            if self._over.wait(SAMPLE_SECONDS):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


def processor_seconds(pid: int) -> float:
    """What the process has used so far, in user mode and in the kernel."""
    process = psutil.Process(pid)
    used = [member.cpu_times() for member in [process, *process.children(recursive=True)]]
    return float(sum(times.user + times.system for times in used))
