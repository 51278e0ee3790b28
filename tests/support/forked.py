"""`filestead` commands that start quickly: each is a fork of a process that has imported the modules.

From then on it is a process like any other: what it does, how it is stopped or killed, and its exit status.
"""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

PROGRAM = "filestead.cli.main"
MODULES = (
    *("filestead.server.run", "filestead.cli.admin.serving", "filestead.cli.admin.sweep"),
    *("pytest", "tests.support.forked"),
)


OF_THE_INTERPRETER = ("PYTHON", "LD_", "MALLOC_", "LC_", "LANG")
"""Beginnings of variables that matter when an interpreter and its libraries start."""


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a fork is what a new process would be: its interpreter would start in the same way."""
    return _of_the_interpreter(environment) == _of_the_interpreter(os.environ)


def _of_the_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    found = {name: value for name, value in environment.items() if name.startswith(OF_THE_INTERPRETER)}
    if set(found.get("PYTHONPATH", "").split(os.pathsep)) <= set(sys.path):
        found.pop("PYTHONPATH", None)
    return found


class ForkedProcess:
    """A `filestead` command, with what tests need of `subprocess.Popen`; `stopped` lets it wait for SIGCONT first.

    It writes to the file `output`, and its errors to `errors`, or there, too.
    """

    def __init__(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        output: str,
        errors: str = "",
        *,
        module: str = PROGRAM,
        stopped: bool = False,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(MODULES))
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(arguments, dict(environment), output, errors or output, os.getcwd(), module, stopped)
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

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("filestead", timeout or 0.0)
        return self._process.exitcode


def run_forked(
    arguments: list[str], environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with tempfile.TemporaryDirectory(prefix="filestead-") as folder:
        output, errors = Path(folder) / "stdout", Path(folder) / "stderr"
        process = ForkedProcess(arguments, environment, str(output), str(errors))
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            raise
        return subprocess.CompletedProcess(["filestead", *arguments], status, output.read_text(), errors.read_text())


def _run(
    arguments: list[str],
    environment: dict[str, str],
    output: str,
    errors: str,
    folder: str,
    module: str,
    stopped: bool,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for path, descriptor in ((output, 1), (errors, 2)):
        with open(path, "ab", buffering=0) as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = ["filestead", *arguments]
    main = importlib.import_module(module).main
    if stopped:
        os.kill(os.getpid(), signal.SIGSTOP)
    main()
