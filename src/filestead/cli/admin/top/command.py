"""`filestead top`: a live view of a server's metrics in a terminal."""

import http.client
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from filestead import settings
from filestead.cli.admin.top.readings import Change, Reading
from filestead.cli.admin.top.screen import page
from filestead.cli.terminal.escaping import escape_line
from filestead.domain.errors import CannotStart, DomainError
from filestead.settings import Settings

TIMEOUT_SECONDS = 10.0
MAX_BYTES = 16 * 1024 * 1024
ENTER = "\x1b[?1049h\x1b[?25l"
LEAVE = "\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def top(
    *,
    url: str | None = None,
    interval: float = 2.0,
    once: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show requests, storage, jobs, batches and projects of a running server, with rates over the last seconds.

    The metrics are those at FILESTEAD_METRICS_PORT. Without it, OPENAI_API_KEY must hold a key with the scope
    `metrics`. Ctrl-C ends the command.

    Parameters
    ----------
    url
        Address of the metrics of another server, as in http://127.0.0.1:9100/metrics.
    interval
        Seconds between two readings.
    once
        Print one page and end.
    """
    if not 0.1 <= interval <= 3600:
        raise CannotStart(f"--interval is {interval:g} seconds: choose 0.1 to 3600")
    address = url or _address(settings.load())
    before = _read(address)
    if once or not sys.stdout.isatty():
        while True:
            time.sleep(interval)
            now = _read(address)
            print("\n".join(page(Change(before, now), address)), flush=True)
            if once:
                return 0
            before = now
    with _own_screen():
        while True:
            time.sleep(interval)
            now = _read(address)
            _draw(page(Change(before, now), address))
            before = now


def _address(loaded: Settings) -> str:
    """The address of the metrics of the server with these settings."""
    host, port = loaded.host, loaded.port
    if loaded.metrics_port is not None:
        host, port = loaded.metrics_host, loaded.metrics_port
    if not port:
        raise CannotStart("the port of the server is 0, a free one: name it with --url http://127.0.0.1:PORT/metrics")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"


def _read(address: str) -> Reading:
    """Request the metrics. Raises `DomainError` with the reason."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CannotStart(f"--url {address} is not an address: write http://host:port/metrics")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    key = os.environ.get("OPENAI_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", parts.path or "/metrics", headers=headers)
            response = connection.getresponse()
            text = response.read(MAX_BYTES).decode(errors="replace")
        finally:
            connection.close()
        if response.status == http.client.OK:
            return Reading.parse(text, time.monotonic())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DomainError(f"no metrics from {address}: {error or type(error).__name__}") from None
    hint = "" if response.status != http.client.UNAUTHORIZED else (
        ": set OPENAI_API_KEY to a key with the scope metrics (filestead keys create --project default --scope metrics)"
    )  # fmt: skip
    raise DomainError(f"no metrics from {address}: status {response.status}{hint}")


@contextmanager
def _own_screen() -> Iterator[None]:
    """Use the terminal's second screen, so that the first one is as before afterwards."""
    sys.stdout.write(ENTER)
    try:
        yield
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()


def _draw(lines: list[str]) -> None:
    width, height = shutil.get_terminal_size()
    shown = [escape_line(line)[:width] + END_OF_LINE for line in lines[: height - 1]]
    sys.stdout.write(HOME + "\r\n".join(shown) + END_OF_SCREEN)
    sys.stdout.flush()
