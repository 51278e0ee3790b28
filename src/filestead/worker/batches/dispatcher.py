"""Sends the lines of all batches of a process: as many at a time as the lanes of their models take.

One task for each model with waiting lines decides what is sent next; each line in flight is a task of its own.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from filestead.domain.batches.model import Pause
from filestead.domain.errors import FileReferenceRejected
from filestead.http_client.connections import Response
from filestead.inference.endpoints import Endpoint, Endpoints, Lane, choose
from filestead.inference.exchanges import Exchange
from filestead.worker.batches.fair_queue import FairQueue
from filestead.worker.batches.file_lines import FileLines
from filestead.worker.batches.line_queue import LineQueue
from filestead.worker.batches.lines import rejection_body
from filestead.worker.batches.throttle import Throttle

log = logging.getLogger("filestead")

MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024
"""Request lines in flight of a process, unless it is a single one."""
LOOK_SECONDS = 0.05
"""How often lanes that wait for a time or a probe are looked at."""
IDLE_SECONDS = 60.0
REJECTED = 400
"""Status of the result of a line that names a file which cannot be sent."""
LINES_PER_TURN = 16
"""Lines that are sent at once before others of the event loop have a turn."""


class LineSource(Protocol):
    """A batch, as the dispatcher sees it."""

    path: str
    """Path of the requests."""
    project_id: str

    def size(self, position: int) -> int:
        """Bytes of the line."""

    def group(self, position: int) -> bytes:
        """Identifies the prefix that the line shares with others."""

    def idempotency_key(self, position: int) -> str:
        """The same for each attempt of the line."""

    def read_body(self, position: int) -> Awaitable[bytes]:
        """The body of the request."""

    def responded(self, position: int, exchange: Exchange, upstream: str) -> None:
        """Take what came of the line at a model server: store its result, or put it back."""

    def failed(self, error: Exception) -> None:
        """Note that a line could not be read."""


@dataclass(slots=True, eq=False)
class Dispatch:
    """The lines of one batch for one model, and those of them that are in flight."""

    source: LineSource
    queue: LineQueue
    model: str
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


@dataclass(slots=True)
class _Place:
    """The place of a line in a lane."""

    lane: Lane
    size: int
    """Bytes of the line."""
    is_used: bool = False
    """Whether the lane has been called: it then returns the place itself."""


class Dispatcher:
    """Sends lines of the batches that were added."""

    def __init__(
        self, endpoints: Endpoints, file_lines: FileLines, clock: Callable[[], float], throttle: Throttle
    ) -> None:
        """`clock` is monotonic."""
        self.throttle = throttle
        self._endpoints = endpoints
        self.file_lines = file_lines
        self._clock = clock
        self._models: dict[str, _Model] = {}
        self._bytes = 0

    def add(self, dispatch: Dispatch) -> None:
        """Send these lines from now on."""
        model = self._models.get(dispatch.model)
        if model is None:
            model = self._models[dispatch.model] = _Model(self, dispatch.model)
        model.add(dispatch)

    def remove(self, dispatch: Dispatch) -> None:
        """Send no more lines of these; those in flight go on."""
        if (model := self._models.get(dispatch.model)) is not None:
            model.remove(dispatch)

    def wake(self, dispatch: Dispatch) -> None:
        """Look at the queue again: lines were put back, or may go on."""
        if (model := self._models.get(dispatch.model)) is not None:
            model.changed.set()

    def pauses(self, model: str) -> list[Pause]:
        """The model servers that receive no requests for a model until a probe passes."""
        endpoints = self._endpoints.for_model(model)
        if not endpoints:
            return [Pause(None, model, "no configured endpoint serves it")]
        return [
            Pause(paused.name, paused.model, paused.reason)
            for endpoint in endpoints
            for paused in endpoint.paused()
            if paused.model in (None, model)
        ]

    def limit(self, model: str) -> int:
        """How many requests for a model may be in flight, at all its endpoints."""
        return sum(endpoint.lane(model).limit for endpoint in self._endpoints.for_model(model))

    def others_wait(self, dispatch: Dispatch) -> bool:
        """Whether there are other lines for the model, of this batch or another; one of `dispatch` is in hand."""
        model = self._models.get(dispatch.model)
        return model is not None and any(each.queue.tokens > 0 for each in model.dispatches)

    async def close(self) -> None:
        """Stop; no batch is left."""
        tasks = [model.task for model in self._models.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What follows is for the models alone.

    def endpoints_for(self, model: str) -> Sequence[Endpoint]:
        """The endpoints of a model."""
        return self._endpoints.for_model(model)

    def now(self) -> float:
        """The time of the clock."""
        return self._clock()

    def reserve(self, size: int) -> bool:
        """Count the bytes of a line in flight, if they fit."""
        if self._bytes and self._bytes + size > MAX_IN_FLIGHT_BYTES:
            return False
        self._bytes += size
        return True

    def release(self, size: int) -> None:
        """Undo `reserve`."""
        self._bytes -= size
        if self._bytes + size > MAX_IN_FLIGHT_BYTES // 2:  # other models may wait for it
            for model in self._models.values():
                model.changed.set()

    def forget(self, model: str) -> None:
        """Remove a model that has had no lines for a while."""
        del self._models[model]


class _Model:
    """The lines of all batches for one model."""

    def __init__(self, dispatcher: Dispatcher, name: str) -> None:
        self.changed = asyncio.Event()
        self._dispatcher = dispatcher
        self._name = name
        self._queue = FairQueue()
        self._dispatches: dict[LineQueue, Dispatch] = {}
        self._endpoints = dispatcher.endpoints_for(name)
        self._in_flight = 0
        self._paused: str | None = None
        self.task = asyncio.create_task(self._run())

    def add(self, dispatch: Dispatch) -> None:
        self._dispatches[dispatch.queue] = dispatch
        self._queue.add(dispatch.queue)
        self.changed.set()

    @property
    def dispatches(self) -> Iterable[Dispatch]:
        return self._dispatches.values()

    def remove(self, dispatch: Dispatch) -> None:
        if self._dispatches.pop(dispatch.queue, None) is not None:
            self._queue.remove(dispatch.queue)
            self.changed.set()  # it may be idle now

    async def _run(self) -> None:
        try:
            while True:
                self.changed.clear()
                seconds = self._send_what_fits()
                if self._is_idle():
                    seconds = IDLE_SECONDS
                elif pause := self._dispatcher.throttle.seconds_to_line():
                    await asyncio.sleep(pause)  # whatever changes meanwhile
                    continue
                if not await self._wait(seconds) and self._is_idle():
                    break
        except Exception as error:  # a fault of ours: the batches fail, and are tried again
            for dispatch in self._dispatches.values():
                dispatch.source.failed(error)
        self._dispatcher.forget(self._name)

    def _is_idle(self) -> bool:
        return not self._dispatches and not self._in_flight

    async def _wait(self, seconds: float | None) -> bool:
        """Wait for a change, at most this long; returns whether there was one."""
        if seconds is None:
            return await self.changed.wait()
        if not seconds:
            await asyncio.sleep(0)
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self.changed.wait()
        return False

    def _send_what_fits(self) -> float | None:
        """Send lines until there is no place or no line; returns the seconds until it makes sense to try again."""
        for _ in range(LINES_PER_TURN):
            if not any(lane.ready() for lane in self._lanes()):
                self._note_pause()
                return LOOK_SECONDS if self._dispatches else None
            if pause := self._dispatcher.throttle.seconds_to_line():
                return pause
            now = self._dispatcher.now()
            taken = self._queue.take(now, self._in_flight)
            if taken is None:
                due = self._queue.next_change(now)
                return None if due is None else max(0.0, due - now)
            if not self._send(*taken):
                self._queue.put_back(*taken)
                return LOOK_SECONDS
        return 0.0

    def _send(self, queue: LineQueue, position: int) -> bool:
        dispatch = self._dispatches[queue]
        size = dispatch.source.size(position)
        lane = choose(self._endpoints, self._name, dispatch.source.group(position))
        if lane is None or not self._dispatcher.reserve(size):
            return False
        if not lane.try_acquire(size):
            self._dispatcher.release(size)
            return False
        self._dispatcher.throttle.count_line()
        self._note_resumption()
        self._in_flight += 1
        place = _Place(lane, size)
        task = asyncio.create_task(self._exchange(dispatch.source, place, position))
        dispatch.tasks.add(task)
        # Not in the task itself: nothing of it runs if it is cancelled before its first step.
        task.add_done_callback(functools.partial(self._ended, dispatch, place))
        return True

    def _ended(self, dispatch: Dispatch, place: _Place, task: asyncio.Task[None]) -> None:
        dispatch.tasks.discard(task)
        if not place.is_used:
            place.lane.release(place.size)
        self._in_flight -= 1
        self._dispatcher.release(place.size)
        self.changed.set()

    async def _exchange(self, source: LineSource, place: _Place, position: int) -> None:
        """Send a line in the place that was taken for it. It is cancelled with its batch."""
        try:
            exchange = await self._read_and_send(source, place, position)
            source.responded(position, exchange, place.lane.endpoint_name)
        except Exception as error:
            source.failed(error)

    async def _read_and_send(self, source: LineSource, place: _Place, position: int) -> Exchange:
        try:
            body = await source.read_body(position)
            async with self._dispatcher.file_lines.resolved(source.project_id, body, place.lane.files) as resolved:
                place.is_used = True
                key = source.idempotency_key(position)
                return await place.lane.send(source.path, resolved, idempotency_key=key, model=self._name)
        except FileReferenceRejected as rejected:
            response = Response(REJECTED, {}, rejection_body(rejected))
            return Exchange("final", response, rejected.message, None, 0.0)

    def _lanes(self) -> list[Lane]:
        """Looked up each time: an endpoint forgets lanes that are idle."""
        return [endpoint.lane(self._name) for endpoint in self._endpoints]

    def _note_pause(self) -> None:
        """Log once why no lane takes requests, unless all places are simply taken."""
        if self._paused is not None or not self._dispatches:
            return
        reasons = [lane.paused_reason() for lane in self._lanes()]
        if all(reason is not None for reason in reasons):
            self._paused = "; ".join(map(str, reasons)) or "no configured endpoint serves it"
            log.warning("batches for the model %s wait: %s", self._name, self._paused)

    def _note_resumption(self) -> None:
        if self._paused is not None:
            log.info("batches for the model %s continue", self._name)
            self._paused = None
