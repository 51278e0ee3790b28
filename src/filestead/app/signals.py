"""Metrics and log of one server process: observers of its parts and of its requests, and the text of `/metrics`."""

import asyncio
import contextlib
import logging
import os
import platform
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from time import monotonic

from filestead import __version__
from filestead.api.http.requests import METHODS, ServedRequest, StartSpan
from filestead.app.tracing import open_tracer
from filestead.domain.batches.observation import BatchObserver
from filestead.domain.errors import DomainError
from filestead.domain.figures import Figures, FiguresRepository
from filestead.domain.forwarding.observation import ForwardingObserver
from filestead.domain.observation import Observer
from filestead.logs.formats import LogFormat, LoggedRequest, RequestFormatter
from filestead.logs.writer import LineWriter
from filestead.metrics import exposition, table
from filestead.metrics.batch_observer import BatchMetrics
from filestead.metrics.board import Board
from filestead.metrics.forwarding_observer import ForwardingMetrics
from filestead.metrics.observer import MetricsObserver
from filestead.metrics.recorder import Recorder
from filestead.settings import Settings

log = logging.getLogger("filestead")

FIGURES_SECONDS = 5.0
"""Figures of the installation are read again after this time at the earliest, however often they are requested."""

FIGURES_TIMEOUT_SECONDS = 3.0
LAG_SECONDS = 0.25
"""Interval at which the lag of the event loop is measured."""

STANDARD_ERROR = 2


class Signals:
    """What a process reports.

    `observer`, `batch_observer` and `forwarding_observer` are passed to the backends, the workers and the forwarder,
    `requests` to the middleware.
    """

    def __init__(self, settings: Settings, board: Board, number: int = 0, *, log_format: LogFormat = "json") -> None:
        """`number` is that of the section of the board which this process owns."""
        self._board = board
        self._recorder = Recorder(board.sections[number])
        self._build = exposition.Build(
            __version__,
            platform.python_version(),
            "embedded" if settings.database_url is None else "shared",
            settings.role,
            settings.project_quota or 0,
        )
        self.observer: Observer = MetricsObserver(self._recorder)
        self.batch_observer: BatchObserver = BatchMetrics(self._recorder)
        self.forwarding_observer: ForwardingObserver = ForwardingMetrics(self._recorder)
        self._writer: LineWriter[LoggedRequest] | None = None
        if log.isEnabledFor(logging.INFO):
            dropped = self._recorder.value(table.LOG_LINES_DROPPED).add
            self._writer = LineWriter(STANDARD_ERROR, RequestFormatter(log_format), dropped, processes=settings.workers)
        self._tracer = open_tracer(os.environ)
        self.requests = RequestSignals(
            self._recorder,
            None if self._writer is None else self._writer.write,
            None if self._tracer is None else self._tracer.start,
        )
        self._lag = self._recorder.distribution(table.EVENT_LOOP_LAG_SECONDS)
        self._figures: tuple[float, Figures | None] = (0.0, None)
        self._reading = asyncio.Lock()

    def request_rejected(self, status: int) -> None:
        """Count a request that was rejected before routing."""
        self._recorder.value(table.REJECTED_REQUESTS, str(status)).add()

    async def collect(self, repository: FiguresRepository) -> bytes:
        """Return the metrics of all processes and of the installation as Prometheus text."""
        figures = await self._read_figures(repository)
        return await asyncio.to_thread(exposition.expose, self._build, self._board.read(), figures)

    async def _read_figures(self, repository: FiguresRepository) -> Figures | None:
        async with self._reading:
            until, figures = self._figures
            if monotonic() >= until:
                figures = None
                try:
                    async with asyncio.timeout(FIGURES_TIMEOUT_SECONDS):
                        figures = await repository.read()
                except (DomainError, TimeoutError) as error:
                    log.warning("the figures of the installation could not be read: %s", error or "timeout")
                self._figures = (monotonic() + FIGURES_SECONDS, figures)
            return figures

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Measure the event loop; write the last lines of the log and export the last spans at the end."""
        task = asyncio.create_task(self._measure_lag())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if self._writer is not None:
                self._writer.close()
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.close)

    async def _measure_lag(self) -> None:
        while True:
            due = monotonic() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._lag.observe(max(0.0, monotonic() - due))


class _RouteSeries:
    """The positions of the series of one method of one route, and by status that of its requests."""

    __slots__ = ("by_status", "received", "seconds", "seconds_sum", "sent")

    def __init__(self, recorder: Recorder, method: str, route: str) -> None:
        self.seconds = recorder.position(table.REQUEST_SECONDS, method, route)
        self.seconds_sum = self.seconds + table.REQUEST_SECONDS.values - 1
        self.received = recorder.position(table.RECEIVED_BYTES, route)
        self.sent = recorder.position(table.SENT_BYTES, route)
        self.by_status: dict[int, int] = {}


class RequestSignals:
    """A `RequestObserver` that records metrics, logs a line and exports a span for each request, at its end."""

    def __init__(
        self,
        recorder: Recorder,
        log_request: Callable[[ServedRequest], None] | None,
        start_span: StartSpan | None,
    ) -> None:
        """`log_request` is None if no lines are logged, and `start_span` if no spans are exported."""
        self.start_span = start_span
        self._recorder = recorder
        self._values = recorder.values
        self._log_request = log_request
        self._series: dict[tuple[str, str], _RouteSeries] = {}
        self._transfers = {
            direction: recorder.value(table.TRANSFERS_IN_FLIGHT, direction) for direction in ("upload", "download")
        }

    def transfer_started(self, direction: str) -> None:
        """Count a transfer in progress."""
        self._transfers[direction].add(1.0)

    def ended(self, request: ServedRequest) -> None:
        """Record the request, log it and export its span.

        Positions instead of `Value` and `Distribution`: this runs for every request, and calls are half of its time.
        """
        try:
            series = self._series[request.method, request.route]
            position = series.by_status[request.status]
        except KeyError:
            series, position = self._add_series(request)
        values, seconds = self._values, request.total_seconds
        values[position] += 1.0
        values[series.seconds + bisect_left(table.REQUEST_BUCKETS, seconds)] += 1.0
        values[series.seconds_sum] += seconds
        values[series.sent] += request.sent
        if request.received:
            values[series.received] += request.received
        if request.transfer is not None:
            self._transfers[request.transfer].add(-1.0)
        if request.reason is not None:
            self._recorder.value(table.REFUSALS, request.reason).add()
        if self._log_request is not None:
            self._log_request(request)
        if request.exported is not None:
            request.exported.end(request)

    def _add_series(self, request: ServedRequest) -> tuple[_RouteSeries, int]:
        method = request.method if request.method in METHODS else table.OTHER
        series = self._series.get((request.method, request.route))
        if series is None:
            series = _RouteSeries(self._recorder, method, request.route)
        position = self._recorder.position(table.REQUESTS, method, request.route, str(request.status))
        if method == request.method:
            self._series[request.method, request.route] = series
            series.by_status[request.status] = position
        return series, position
