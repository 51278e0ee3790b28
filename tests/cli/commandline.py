"""The installed `filestead` as tests run it: in a folder of its own, on pipes, files and terminals."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

PROGRAM = Path(sys.executable).with_name("filestead")
SECONDS = 60


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    code: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        return self.data.decode()


class Process(subprocess.Popen[bytes]):
    """A run that does not outlive a test that fails."""

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, error, traceback)


class Screen:
    """A terminal that keeps what is written to it; newlines stay newlines."""

    def __init__(self, *, rows: int = 40, columns: int = 100) -> None:
        self._master, self.descriptor = pty.openpty()
        tty.setraw(self.descriptor)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._kept = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # A terminal whose last user has gone answers EIO instead of an end.
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            self._kept += data

    @property
    def kept(self) -> bytes:
        """What has been written so far."""
        return bytes(self._kept)

    def close(self) -> bytes:
        """Everything that was written; nobody may hold the terminal any more."""
        os.close(self.descriptor)
        self._reader.join(SECONDS)
        os.close(self._master)
        return bytes(self._kept)


@dataclass(frozen=True)
class CommandLine:
    """`filestead` in `folder`, with an environment that knows the server and its key, and nothing on its input."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(self, *words: str, env: dict[str, str] | None = None, **files: Any) -> Process:
        """Start it; `files` are those of Popen."""
        return Process(
            [PROGRAM, *words],
            cwd=self.folder,
            env={**self.env, **(env or {})},
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **files},
        )

    def start_shell(self, script: str) -> Process:
        """Start a line of shell in its place."""
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return Process(["/bin/sh", "-c", script], cwd=self.folder, env=self.env, **pipes)

    def __call__(self, *words: str, stdin: "bytes | BinaryIO | None" = None, **options: Any) -> Done:
        """Run it. Bytes for standard input are in the pipe, which is closed behind them, before it starts."""
        with _standard_input(stdin) as source, self.start(*words, stdin=source, **options) as process:
            data, err = process.communicate(timeout=SECONDS)
        return Done(process.returncode, data or b"", (err or b"").decode())

    def on_terminal(self, *words: str, rows: int = 40, columns: int = 100, **options: Any) -> Done:
        """Run it with standard output and standard error on terminals of their own."""
        out, err = Screen(rows=rows, columns=columns), Screen(rows=rows, columns=columns)
        with self.start(*words, **{"stdout": out.descriptor, "stderr": err.descriptor, **options}) as process:
            process.wait(SECONDS)
        return Done(process.returncode, out.close(), err.close().decode())

    def with_env(self, **env: str) -> "CommandLine":
        """The same with other variables."""
        return CommandLine(self.folder, {**self.env, **env})

    def names(self) -> list[str]:
        """What is in the folder."""
        return sorted(os.listdir(self.folder))


@contextmanager
def _standard_input(given: "bytes | BinaryIO | None") -> Iterator[Any]:
    if not isinstance(given, bytes):
        yield subprocess.DEVNULL if given is None else given
        return
    assert len(given) <= 65536, "more than a pipe holds"
    reader, writer = os.pipe()
    os.write(writer, given)
    os.close(writer)
    try:
        yield reader
    finally:
        os.close(reader)


def interrupt(process: Process) -> int:
    """Ctrl-C; the code is that of the signal if the process ended by it."""
    process.send_signal(signal.SIGINT)
    return process.wait(SECONDS)
