"""The server process: its socket, its workers, and what it says when it starts."""

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from filestead import installation
from filestead.app import web
from filestead.domain.errors import CannotStart
from filestead.installation import Installation
from filestead.server.banner import banner
from filestead.server.http1.limits import ConnectionLimits
from filestead.server.http1.lingering import MAX_UPLOAD_BYTES, MIB, LingeringLimits
from filestead.server.http1.protocol import protocol_class
from filestead.server.memory import freeze_heap
from filestead.server.supervisor import Supervisor
from filestead.settings import Settings, changed

log = logging.getLogger("filestead")

BACKLOG = 2048
SPARE_FILES = 512

ACCEPTED_AT_ONCE = 8
"""Sockets that listen: of each, libuv accepts one connection in a turn of the event loop."""


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. `CannotStart` says what is in the way; `KeyboardInterrupt` after Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    _raise_file_limit(settings)
    # The port is taken first, so that one that is not free leaves no new installation behind; it listens last, so that
    # clients of a node that still migrates are refused and try another one.
    served = installation.from_settings(settings)
    with contextlib.closing(_bound(settings, served)) as listener, served.prepare():
        key_file = settings.data_dir.absolute() / installation.FIRST_KEY_FILE
        printed = settings.print_key or sys.stdout.isatty()
        new_key = served.bootstrap(None if printed else key_file)
        with _address_errors(settings):
            listener.listen(BACKLOG)
        left = key_file.exists() and not (printed and new_key)
        log.info("settings other than the default: %s", changed(settings) or "none")
        if os.geteuid() == 0:
            log.warning("running as root: a fault in the server would be root's; run it as a user of its own")
        print(banner(settings, listener.getsockname()[1], new_key, key_file if left else None), flush=True)
        if settings.workers == 1:
            # uvicorn raises the signal once more when all has ended that has the time to; what has not ends here.
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            work(settings, listener)
        else:
            Supervisor(settings.workers, lambda: work(settings, listener)).run()


def _raise_file_limit(settings: Settings) -> None:
    """A connection takes a descriptor, and its file another; the usual soft limit of 1,024 is less than we promise.

    A file in an object store takes three: two for the driver's proxy and one to the store.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (2 if settings.blob_url is None else 4) * settings.max_connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _bound(settings: Settings, served: Installation) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # All workers share it: a duplicate that one of them makes of a blocking socket would make it block in the others.
    listener.setblocking(False)
    try:
        with _address_errors(settings):
            listener.bind((settings.host, settings.port))
    except CannotStart as error:
        listener.close()
        if served.is_locked():  # The commonest case of all is a second start of the same server.
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
            "--port, or stop what listens there"
        ) from None


def work(settings: Settings, listener: socket.socket) -> None:
    """One worker: the application on the shared socket, in this process."""
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
        web.build(settings, installation.from_settings(settings).open()),
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
    uvicorn.Server(config).run(sockets=[listener, *(listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1))])
