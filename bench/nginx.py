"""nginx as the reference: PUT and GET of plain files, with one worker, in the foreground, on a free loopback port."""

import contextlib
import grp
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.plan import INSTALL, CannotMeasure, find_program

START_SECONDS = 10.0
STOP_SECONDS = 10.0

# Every path is its own, so that it runs beside another nginx and as any user. Bodies are kept on the file system of
# the files: the move from one to the other is then a rename, as it is in Filestead.
CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid "{home}/nginx.pid";
error_log "{home}/error.log" error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_temp_path "{home}/body";
    proxy_temp_path "{home}/proxy";
    fastcgi_temp_path "{home}/fastcgi";
    uwsgi_temp_path "{home}/uwsgi";
    scgi_temp_path "{home}/scgi";
    {upstream}
    server {{
        listen 127.0.0.1:{port};
        root "{home}/files";
        location / {{ {location} }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx; what is in `files` is served under `url`."""

    url: str
    files: Path
    pid: int


FILES = "dav_methods PUT DELETE;"
UPSTREAM = "upstream models {{ server {address}; keepalive 64; }}"
PROXY = 'proxy_pass http://models; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;'


@contextlib.contextmanager
def nginx(directory: Path) -> Iterator[Nginx]:
    """Run nginx on a folder below `directory`. `CannotMeasure` if it is not installed or does not start."""
    with _running(directory / "nginx", FILES, "") as started:
        yield started


@contextlib.contextmanager
def proxy(directory: Path, url: str) -> Iterator[str]:
    """Run nginx as a reverse proxy in front of the server at this URL; yields its own."""
    upstream = UPSTREAM.format(address=urlsplit(url).netloc)
    with _running(directory / "nginx-proxy", PROXY, upstream) as started:
        yield started.url


@contextlib.contextmanager
def _running(home: Path, location: str, upstream: str) -> Iterator[Nginx]:
    program = find_program("nginx")
    files = home / "files"
    files.mkdir(parents=True)
    port = _free_port()
    configuration = home / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(user=_user(), home=home, port=port, location=location, upstream=upstream)
    )
    output = home / "output.log"
    try:
        with output.open("w") as log:
            process = subprocess.Popen([program, "-p", home, "-c", configuration], stdout=log, stderr=log)
        try:
            _wait_until_ready(process, port, output)
            yield Nginx(f"http://127.0.0.1:{port}", files, process.pid)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def version() -> str:
    """As nginx tells it."""
    answer = subprocess.run([find_program("nginx"), "-v"], capture_output=True, text=True, check=True)
    return answer.stderr.strip().removeprefix("nginx version: ")


def _user() -> str:
    """Started by root, its worker would become a user who may not enter the folder."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            said = (output.read_text().splitlines() or ["it says nothing"])[-1]
            raise CannotMeasure(f"nginx does not start ({said}); it needs its DAV module: {INSTALL}")
        time.sleep(0.02)
