"""Servers that start quickly: each is a fork of a process that has imported the modules, and has a life of its own."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.context import ForkServerProcess

from tests.support.servers import Server

MODULES = (
    *("filestead.server.run", "filestead.cli.admin.serving", "filestead.cli.admin.sweep"),
    *("pytest", "tests.support.forked"),
)


class ForkedServer(Server):
    """A `Server` for tests that start many."""

    def _start(self, arguments: tuple[str, ...], code: str, environment: dict[str, str]) -> "ForkedProcess":
        return ForkedProcess(["serve", *arguments], environment, self._output.name, module=self._module)


class ForkedProcess:
    """A `filestead` command, with what `Server` needs of `subprocess.Popen`; `stopped` lets it wait for SIGCONT first."""

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        output: str,
        *,
        module: str = "filestead.cli.main",
        stopped: bool = False,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(MODULES))
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(arguments, environment, output, module, stopped)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("filestead", timeout or 0.0)
        return self._process.exitcode


def _run(arguments: list[str], environment: dict[str, str], output: str, module: str, stopped: bool) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with open(output, "ab", buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.argv = ["filestead", *arguments]
    main = importlib.import_module(module).main
    if stopped:
        os.kill(os.getpid(), signal.SIGSTOP)
    main()
