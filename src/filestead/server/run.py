"""`serve`: binds the socket, prepares the installation, prints the banner, and runs the workers."""

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from filestead.app import web
from filestead.domain.errors import CannotStart
from filestead.installation import FIRST_KEY_FILE, Installation, from_settings
from filestead.server.banner import banner
from filestead.server.http1.limits import ConnectionLimits
from filestead.server.http1.lingering import MAX_UPLOAD_BYTES, MIB, LingeringLimits
from filestead.server.http1.protocol import protocol_class
from filestead.server.memory import freeze_heap
from filestead.server.supervisor import Supervisor
from filestead.settings import Settings, non_default_values

log = logging.getLogger("filestead")

BACKLOG = 2048
RESERVED_DESCRIPTORS = 512

LISTENING_SOCKETS = 8
"""libuv accepts one connection per listening socket in each iteration of the event loop."""


def serve(settings: Settings) -> None:
    """Serve until a signal arrives. Raises `CannotStart` with the reason, and `KeyboardInterrupt` after Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    _raise_file_limit(settings)
    # The port is bound first, so that no installation is created if the port is in use. The socket listens last, so
    # that connections to a node that is still migrating are refused and clients try another one.
    installation = from_settings(settings)
    web.require_packages(settings)
    with contextlib.closing(_bind(settings, installation)) as listener, installation.prepare():
        key_file = settings.data_dir.absolute() / FIRST_KEY_FILE
        printed = settings.print_key or sys.stdout.isatty()
        new_key = installation.bootstrap(None if printed else key_file)
        with _address_errors(settings):
            listener.listen(BACKLOG)
        key_file_exists = key_file.exists() and not (printed and new_key)
        log.info("settings other than the default: %s", non_default_values(settings) or "none")
        if os.geteuid() == 0:
            log.warning(
                "running as root: a vulnerability in the server would give root access; run it as a separate user"
            )
        # Until uvicorn or the supervisor handles the signal, and when uvicorn raises it again after its shutdown.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        print(banner(settings, listener.getsockname()[1], new_key, key_file if key_file_exists else None), flush=True)
        if settings.workers == 1:
            run_worker(settings, listener)
        else:
            Supervisor(settings.workers, lambda: run_worker(settings, listener)).run()


def _raise_file_limit(settings: Settings) -> None:
    """Raise the limit of open files; the usual soft limit of 1,024 is too low for the default settings.

    A connection needs one descriptor and its file another. A file in an object store needs three: two for the
    driver's proxy and one for the connection to the store.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (2 if settings.blob_url is None else 4) * settings.max_connections + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _bind(settings: Settings, installation: Installation) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # `dup` of a blocking socket would clear O_NONBLOCK, a flag that the workers share.
    listener.setblocking(False)
    try:
        with _address_errors(settings):
            listener.bind((settings.host, settings.port))
    except CannotStart as error:
        listener.close()
        if installation.is_locked():  # most often, the same server is started twice
            raise CannotStart(f"{error} (another Filestead serves {settings.data_dir})") from None
        raise
    return listener


@contextlib.contextmanager
def _address_errors(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}): choose another --host or "
            "--port, or stop the process that uses it"
        ) from None


def run_worker(settings: Settings, listener: socket.socket) -> None:
    """Run the application on the shared socket in this process."""
    limits = ConnectionLimits(
        head_seconds=settings.head_seconds,
        send_stall_seconds=settings.send_stall_seconds,
        max_connections=settings.max_connections,
        max_connections_per_address=settings.connections_per_address,
        lingering=LingeringLimits(
            max_bytes=max(MAX_UPLOAD_BYTES, 2 * int(settings.max_file_bytes) + MIB),
            rate_window=settings.idle_seconds,
            min_rate=settings.min_upload_rate,
            max_seconds=settings.max_upload_seconds,
        ),
    )
    config = uvicorn.Config(
        web.build(settings, from_settings(settings).open()),
        http=protocol_class(limits, web.error_response),
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
    freeze_heap()
    uvicorn.Server(config).run(sockets=[listener, *(listener.dup() for _ in range(LISTENING_SOCKETS - 1))])
