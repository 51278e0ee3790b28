"""The server process: its socket, its workers, and what it says when it starts."""

import contextlib
import logging
import os
import resource
import signal
import socket
import sys

import uvicorn

from filestead import app, installation
from filestead.api.errors import Answer
from filestead.api.front import new_request_id
from filestead.domain.errors import CannotStart
from filestead.server.protocol import ConnectionLimits, protocol_class
from filestead.server.supervisor import Supervisor
from filestead.settings import Settings, changed

log = logging.getLogger("filestead")

BACKLOG = 2048
SPARE_FILES = 512


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. `CannotStart` says what is in the way."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    _raise_file_limit(settings)
    release = installation.prepare(settings)
    with contextlib.closing(_listen(settings)) as listener:
        first_key = installation.begin(settings)
        log.info("settings other than the default: %s", changed(settings) or "none")
        print(banner(settings, listener.getsockname()[1], first_key), flush=True)
        if settings.workers == 1:
            # uvicorn raises the signal once more when all has ended that has the time to; what has not ends here.
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            work(settings, listener)
        else:
            Supervisor(settings.workers, lambda: work(settings, listener)).run()
    release()


def _raise_file_limit(settings: Settings) -> None:
    """A connection takes a descriptor, and its file another; the usual soft limit of 1,024 is less than we promise."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.max_connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}): choose another --host or "
            "--port, or stop what listens there"
        ) from None
    return listener


def banner(settings: Settings, port: int, first_key: str | None) -> str:
    """What a user needs for the next minute."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.host in ("0.0.0.0", "::"):  # noqa: S104 - what was chosen, not a default
        host = "127.0.0.1"
    base = f"http://{host}:{port}/v1"
    place = f"Data directory: {settings.bytes_place}"
    if settings.database_url is not None:
        place = f"A node over PostgreSQL and {settings.bytes_place}"
    lines = [f"Filestead serves {base}", place]
    if first_key is None:
        lines.append("Keys: `filestead keys list`; a new one: `filestead keys create --project default`")
        return "\n".join(lines)
    # Flush left, so that each part works as pasted.
    return "\n".join(
        [
            *lines,
            "",
            "Your first key, shown only this once:",
            "",
            f"export OPENAI_BASE_URL={base}",
            f"export OPENAI_API_KEY={first_key}",
            "",
            "Upload a file with curl:",
            "",
            f"echo 'Hello, Filestead' | curl {base}/files -H 'Authorization: Bearer {first_key}' "
            "-F purpose=user_data -F 'file=@-;filename=hello.txt'",
            "",
            "or with Python (pip install openai):",
            "",
            "from openai import OpenAI",
            f'client = OpenAI(base_url="{base}", api_key="{first_key}")',
            'file = client.files.create(file=("hello.txt", b"Hello, Filestead"), purpose="user_data")',
            "print(file.id, client.files.content(file.id).read())",
            "",
        ]
    )


def work(settings: Settings, listener: socket.socket) -> None:
    """One worker: the application on the shared socket, in this process."""
    limits = ConnectionLimits(
        head_seconds=settings.head_seconds,
        send_stall_seconds=settings.send_stall_seconds,
        connections=settings.max_connections,
    )
    config = uvicorn.Config(
        app.build(settings, installation.open_stores(settings)),
        http=protocol_class(limits, _refusal),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _refusal(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The answer to what is not even a request."""
    answer = Answer(status, message)
    response = answer.response()
    return [*response.raw_headers, (b"x-request-id", new_request_id().encode())], answer.body()
