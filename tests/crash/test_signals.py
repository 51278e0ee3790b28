"""A signal stops the server at any time: also while a worker starts, or in code that ignores exceptions."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SLOW_FORK = """
import os, sys, time
from filestead.server.supervisor import Supervisor

os.register_at_fork(after_in_child=lambda: time.sleep(1))
print("ready", flush=True)
Supervisor(2, lambda _: time.sleep(600)).run()
"""

IN_A_FINALIZER = """
import sys, time
from filestead.cli import main
from filestead.server import run as server

class Slow:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(1)

def run(settings):
    Slow()
    time.sleep(600)

server.serve = run
sys.argv = ["filestead", "serve", "--data-dir", sys.argv[1]]
main.main()
"""


def run_and_signal(code: str, number: signal.Signals, folder: Path) -> tuple[int, str]:
    """Run a program, send a signal shortly after its first line of output, and return exit status and standard error."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        process.send_signal(number)
        try:
            _, error = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            pytest.fail("the signal was lost")
        finally:
            for one in family:
                if one.is_running():
                    one.kill()
        return process.returncode, error


def test_a_signal_while_workers_are_forked_is_not_lost(tmp_path: Path) -> None:
    assert run_and_signal(SLOW_FORK, signal.SIGTERM, tmp_path) == (0, "")


def test_ctrl_c_in_a_finalizer_is_not_lost(tmp_path: Path) -> None:
    assert run_and_signal(IN_A_FINALIZER, signal.SIGINT, tmp_path) == (-signal.SIGINT, "filestead: stopped by Ctrl-C\n")
