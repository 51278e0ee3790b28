"""`serve`: binds the socket, prepares the installation, prints the banner, and runs the workers."""

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn

from filestead.app import web
from filestead.app.signals import Signals
from filestead.domain.errors import CannotStart
from filestead.installation import FIRST_KEY_FILE, Installation, from_settings
from filestead.logs.setup import choose_format, configure
from filestead.metrics.board import Board
from filestead.metrics.recorder import clear_gauges
from filestead.server.banner import banner
from filestead.server.http1.limits import ConnectionLimits
from filestead.server.http1.lingering import MAX_UPLOAD_BYTES, MIB, LingeringLimits
from filestead.server.http1.protocol import protocol_class
from filestead.server.memory import freeze_heap, limit_arenas
from filestead.server.supervisor import Supervisor
from filestead.settings import Settings, non_default_values

log = logging.getLogger("filestead")

BACKLOG = 2048
RESERVED_DESCRIPTORS = 512

LISTENING_SOCKETS = 8
"""libuv accepts one connection per listening socket in each iteration of the event loop."""


def serve(settings: Settings) -> None:
    """Serve until a signal arrives. Raises `CannotStart` with the reason, and `KeyboardInterrupt` after Ctrl-C."""
    limit_arenas()
    configure(choose_format(settings.log), settings.log_level)
    _raise_file_limit(settings)
    # The port is bound first, so that no installation is created if the port is in use. The socket listens last, so
    # that connections to a node that is still migrating are refused and clients try another one.
    installation = from_settings(settings)
    web.require_packages(settings)
    with contextlib.ExitStack() as stack:
        listeners = _bind(settings, installation)
        stack.callback(listeners.close)
        stack.enter_context(installation.prepare())
        key_file = settings.data_dir.absolute() / FIRST_KEY_FILE
        printed = settings.print_key or sys.stdout.isatty()
        new_key = installation.bootstrap(None if printed else key_file)
        listeners.listen(settings)
        key_file_exists = key_file.exists() and not (printed and new_key)
        log.info("settings other than the default: %s", non_default_values(settings) or "none")
        if os.geteuid() == 0:
            log.warning(
                "running as root: a vulnerability in the server would give root access; run it as a separate user"
            )
        # Until uvicorn or the supervisor handles the signal, and when uvicorn raises it again after its shutdown.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        shown_file = key_file if key_file_exists else None
        print(banner(settings, listeners.port, listeners.metrics_port, new_key, shown_file), flush=True)
        board = Board(settings.workers)
        if settings.workers == 1:
            run_worker(settings, listeners, board)
        else:
            freeze_heap()  # before the fork: the workers share what the collection does not touch
            Supervisor(
                settings.workers,
                lambda number: run_worker(settings, listeners, board, number),
                ended=lambda number: clear_gauges(board, number),
            ).run()


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


@dataclass(frozen=True, slots=True)
class Listeners:
    """The bound sockets that all processes share: of the API, and of the metrics if they have a port."""

    api: socket.socket
    metrics: socket.socket | None

    @property
    def port(self) -> int:
        """The port of the API."""
        port: int = self.api.getsockname()[1]
        return port

    @property
    def metrics_port(self) -> int | None:
        """The port of the metrics."""
        return None if self.metrics is None else self.metrics.getsockname()[1]

    def listen(self, settings: Settings) -> None:
        """Accept connections from now on."""
        with _address_errors(settings.host, settings.port):
            self.api.listen(BACKLOG)
        if self.metrics is not None:
            with _address_errors(settings.metrics_host, settings.metrics_port or 0, flag="--metrics-"):
                self.metrics.listen(BACKLOG)

    def close(self) -> None:
        """Close the sockets."""
        self.api.close()
        if self.metrics is not None:
            self.metrics.close()


def _bind(settings: Settings, installation: Installation) -> Listeners:
    try:
        api = _bind_address(settings.host, settings.port)
    except CannotStart as error:
        if installation.is_locked():  # most often, the same server is started twice
            raise CannotStart(f"{error} (another Filestead serves {settings.data_dir})") from None
        raise
    if settings.metrics_port is None:
        return Listeners(api, None)
    try:
        return Listeners(api, _bind_address(settings.metrics_host, settings.metrics_port, flag="--metrics-"))
    except CannotStart:
        api.close()
        raise


def _bind_address(host: str, port: int, *, flag: str = "--") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # `dup` of a blocking socket would clear O_NONBLOCK, a flag that the workers share.
    listener.setblocking(False)
    try:
        with _address_errors(host, port, flag=flag):
            listener.bind((host, port))
    except CannotStart:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _address_errors(host: str, port: int, *, flag: str = "--") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host} port {port} ({error.strerror}): choose another {flag}host or {flag}port, or stop "
            "the process that uses it"
        ) from None


def run_worker(settings: Settings, listeners: Listeners, board: Board, number: int = 0) -> None:
    """Run the application on the shared sockets in this process, whose metrics are in section `number` of the board."""
    signals = Signals(settings, board, number, log_format=choose_format(settings.log))

    def error_response(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        signals.request_rejected(status)
        return web.error_response(status, message)

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
    backends = from_settings(settings).open(observer=signals.observer)
    config = uvicorn.Config(
        web.build(settings, backends, signals, listeners.metrics_port),
        http=protocol_class(limits, error_response),
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
    sockets = [listeners.api, *(listeners.api.dup() for _ in range(LISTENING_SOCKETS - 1))]
    if listeners.metrics is not None:
        sockets.append(listeners.metrics)
    uvicorn.Server(config).run(sockets=sockets)
