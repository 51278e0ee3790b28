"""A real server in a process of its own, on a free loopback port, for every test that goes over HTTP."""

import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.support import canaries, forked
from tests.support.installations import Place, clean_environment, place_of

KEY = "sk-test-bootstrap-0123456789"
START_SECONDS = 120


class Server:
    """`filestead serve` on `data_dir`, with settings as keywords: `Server(path, max_file_bytes=1000)`.

    Rows and bytes are where the profile of the tests has them, or in `place`. The process is a fork of one that has the
    modules (see `forked`), unless a test looks at what a start costs and asks for an `own_interpreter`.
    """

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        key: str | None = KEY,
        module: str = forked.PROGRAM,
        own_interpreter: bool = False,
        env: dict[str, str] | None = None,
        place: Place | None = None,
        **settings: Any,
    ) -> None:
        self.data_dir = data_dir
        self.place = place or place_of(data_dir)
        self.key = key
        # Output goes to a file: a pipe that nobody reads would fill up and stop the server.
        self._output = tempfile.NamedTemporaryFile(prefix="filestead-", suffix=".log")  # noqa: SIM115
        environment = clean_environment() | self.place.variables()
        environment |= {"FILESTEAD_DATA_DIR": str(data_dir), "FILESTEAD_PORT": "0"}
        environment |= {f"FILESTEAD_{name.upper()}": str(value) for name, value in settings.items()} | (env or {})
        if key is not None:
            environment["FILESTEAD_BOOTSTRAP_KEY"] = key
        self._environment = environment
        self._module = module
        self._own_interpreter = own_interpreter or not forked.can_fork(environment)
        canaries.secrets_of(environment, data_dir)  # known from now on
        self.process = self._start(["serve", *arguments], environment)
        try:
            self.base_url = self._wait_for_address() + "/v1"
        except RuntimeError:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGKILL)
            raise
        self.client = httpx2.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=60,
            event_hooks={"response": [canaries.check_error, canaries.watch(data_dir)]},
        )
        self._wait_until_ready()

    def _start(self, arguments: list[str], environment: dict[str, str]) -> Any:
        """Start the process."""
        if self._own_interpreter:
            return self._spawn(self._command(arguments), environment)
        return forked.ForkedProcess(arguments, environment, self._output.name, module=self._module)

    def _command(self, arguments: list[str]) -> list[str]:
        return [sys.executable, "-c", f"from {self._module} import main; main()", *arguments]

    def _spawn(self, command: list[str], environment: dict[str, str]) -> Any:
        return subprocess.Popen(command, stdout=self._output, stderr=self._output, env=environment)

    @property
    def output(self) -> str:
        """Everything that the server has printed."""
        return Path(self._output.name).read_text()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self.base_url.removesuffix("/v1")

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.origin.rpartition(":")[2])

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if found := re.search(r"Filestead serves (http://\S+)/v1", self.output):
                return found[1]
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.output}")
            time.sleep(0.02)
        raise RuntimeError(f"the server did not start:\n{self.output}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx2.get(self.origin + "/health")
                return
            except httpx2.TransportError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"the server does not answer:\n{self.output}") from None
                time.sleep(0.02)

    def upload(
        self, content: bytes = b"hello", *, purpose: str = "user_data", name: str = "a.txt", **fields: str
    ) -> Any:
        """Upload and return the parsed file object; fails unless the answer is 200."""
        response = self.client.post("/files", data={"purpose": purpose, **fields}, files={"file": (name, content)})
        assert response.status_code == 200, response.text
        return response.json()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the server and return its exit code; fails if its log has a secret that it was given."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        if Path(self._output.name).exists():
            secrets = canaries.secrets_of(self._environment, self.data_dir)
            canaries.assert_absent(self.output, secrets, shows_key=self.key is None)
        return int(status)

    def kill(self) -> None:
        """kill -9."""
        self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._output.close()


def wait_for_uploads(server: Server, count: int) -> None:
    """Wait until the server has begun so many uploads: a request on the way does not occupy a slot yet."""
    deadline = time.monotonic() + 30
    while server.place.sql("SELECT count(*) FROM blobs WHERE state = 'pending'")[0][0] < count:
        assert time.monotonic() < deadline, "the uploads have not begun"
        time.sleep(0.02)


def run_command(
    data_dir: Path, *arguments: str, place: Place | None = None, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run a `filestead` command on a data directory, or on what the profile has in its place.

    Fails if its output has a secret that it or a server was given.
    """
    environment = clean_environment() | (place or place_of(data_dir)).variables()
    environment |= {f"FILESTEAD_{name.upper()}": str(value) for name, value in settings.items()}
    environment["FILESTEAD_DATA_DIR"] = str(data_dir)
    done = forked.run_forked(list(arguments), environment, timeout=60)
    secrets = canaries.secrets_of(environment, data_dir)
    shows_key = arguments[:2] == ("keys", "create")
    for text in (done.stdout, done.stderr):
        canaries.assert_absent(text, secrets, what="a command's output", shows_key=shows_key and text is done.stdout)
    if shows_key and done.returncode == 0:
        canaries.plant(data_dir, done.stdout.strip())
    return done


def new_key(server: Server, *arguments: str) -> str:
    """The key that `filestead keys create` prints."""
    done = run_command(server.data_dir, "keys", "create", *arguments, place=server.place)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
