"""Runs the lines of one batch until each has a result: by its response, or as cancelled or expired."""

import asyncio
import contextlib
import logging
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from filestead.domain.batches.line_index import LineIndex
from filestead.domain.batches.model import BatchStatus, BatchTask, Parallelism, Pause, ResultKind
from filestead.domain.batches.observation import UNOBSERVED_BATCHES, BatchObserver
from filestead.domain.batches.order import DEFAULT_OUTPUT, OrderMode, order_lines
from filestead.domain.files.digester import RunInThread
from filestead.inference.exchanges import Exchange
from filestead.worker.batches.dispatcher import Dispatch, Dispatcher
from filestead.worker.batches.inputs import InputFile
from filestead.worker.batches.line_queue import LineQueue
from filestead.worker.batches.lines import (
    CANCELLED,
    EXPIRED,
    FAILED,
    TIMEOUT,
    batch_request_id,
    error_line,
    parse_request,
    response_line,
    usage_of,
)
from filestead.worker.batches.pacing import PAUSED_KINDS, Attempts, delay_before_retry
from filestead.worker.batches.pauses import BusyWatch
from filestead.worker.batches.results import Result, Results

log = logging.getLogger("filestead")

WATCH_SECONDS = 1.0
BYTES_PER_TOKEN = 4
MAX_OUTPUT = 131_072
LINES_PER_TURN = 64
"""Lines of a batch that ended early, whose results are made before others get a turn."""
HTTP_ERROR = 400
MAX_PAUSES = 20
"""That a batch says, of what may be many models and model servers."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is the same for all batches."""

    cancel_seconds: float
    """How long a cancelled batch waits for the lines in flight."""
    order: OrderMode
    clock: Callable[[], float]
    """Monotonic."""
    new_request_id: Callable[[], str]
    run_in_thread: RunInThread
    """Runs one function at a time: validation and order hold the interpreter lock and would compete."""
    observer: BatchObserver = UNOBSERVED_BATCHES


class BatchRun:
    """The lines of a batch; a `LineSource` of the dispatcher."""

    def __init__(
        self,
        task: BatchTask,
        file: InputFile,
        index: LineIndex,
        *,
        results: Results,
        dispatcher: Dispatcher,
        options: RunOptions,
    ) -> None:
        self.path = task.batch.endpoint
        self.executed = task.batch.counts.completed + task.batch.counts.failed
        """Lines that count as completed or failed."""
        self._batch_id = task.batch.id
        self.project_id = task.batch.project_id
        self._expires_at = task.batch.expires_at
        self._file = file
        self._index = index
        self._results = results
        self._dispatcher = dispatcher
        self._options = options
        self._done = bytearray(len(index))
        self.left = len(index)
        """Lines without a result."""
        self._stopping = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._attempts: dict[int, Attempts] = {}
        self._busy = BusyWatch(options.clock)
        self._custom_ids: dict[int, bytes] = {}
        """Of the lines in flight."""
        self._groups = array("I", bytes(4 * len(index)))
        self._dispatches: dict[int, Dispatch] = {}
        """By the number of their model in the index."""

    def mark_done(self, lines: bytes) -> None:
        """Leave out the lines that have a result, by their numbers as packed by the repository."""
        numbers = array("I", lines)
        for number in numbers:
            position = bisect_left(self._index.numbers, number)
            self.left -= not self._done[position]
            self._done[position] = 1

    async def run(self) -> None:
        """Send all lines that are left. When this returns, each line has a stored result."""
        await self._options.run_in_thread(self._build_queues)
        try:
            for dispatch in self._dispatches.values():
                self._dispatcher.add(dispatch)
            reason = await self._until_stopped()
            self._stopping = True
            for dispatch in self._dispatches.values():
                self._dispatcher.remove(dispatch)
            if reason is CANCELLED:
                await self._wait_for_lines_in_flight()
            await self._close_lines_in_flight()
            if reason is not None:
                self._results.unexecuted = "cancelled" if reason is CANCELLED else "expired"
                await self._add_unexecuted(*reason)
            await self._results.drained()
        finally:
            self._stopping = True
            for dispatch in self._dispatches.values():
                self._dispatcher.remove(dispatch)
            await self._close_lines_in_flight()

    def pauses(self) -> tuple[Pause, ...]:
        """Why no lines are sent now, or none to some model servers."""
        found = []
        if (reason := self._results.shown_reason) is not None:
            found.append(Pause(None, None, f"its results cannot be stored now: {reason}"))
        for dispatch in () if self._stopping else self._dispatches.values():
            if dispatch.tasks or dispatch.queue.tokens:
                found += self._dispatcher.pauses(dispatch.model) or self._busy.pauses(dispatch.model)
        return tuple(dict.fromkeys(found))[:MAX_PAUSES]

    def parallelism(self) -> Parallelism:
        """How many lines are in flight, and how many requests its model servers may have."""
        in_flight = sum(len(dispatch.tasks) for dispatch in self._dispatches.values())
        models = {dispatch.model for dispatch in self._dispatches.values()}
        return Parallelism(in_flight, sum(map(self._dispatcher.limit, models)))

    def on_change(self) -> None:
        """Results were stored, or cannot be stored now, or the state of the batch was read."""
        self._changed.set()
        self._pause_or_continue()

    # --- what the dispatcher calls ----------------------------------------------------------------------------------

    def size(self, position: int) -> int:
        """As in `LineSource`."""
        return self._index.lengths[position]

    def group(self, position: int) -> bytes:
        """As in `LineSource`."""
        return f"{self._batch_id}:{self._groups[position]}".encode()

    def idempotency_key(self, position: int) -> str:
        """As in `LineSource`; also the `id` of the result."""
        return batch_request_id(self._batch_id, self._index.numbers[position])

    async def read_body(self, position: int) -> bytes:
        """As in `LineSource`."""
        line = await self._file.read(self._index.offsets[position], self._index.lengths[position])
        self._custom_ids[position], body = parse_request(line)
        return body

    def responded(self, position: int, exchange: Exchange, upstream: str) -> None:
        """As in `LineSource`."""
        custom_id = self._custom_ids.pop(position)
        attempts = self._attempts.setdefault(position, Attempts())
        dispatch = self._dispatches[self._index.model_numbers[position]]
        others_wait = exchange.kind == "busy" and self._dispatcher.others_wait(dispatch)
        delay = delay_before_retry(attempts, exchange, others_wait=others_wait)
        self._busy.note(upstream, dispatch.model, exchange)
        if exchange.kind not in PAUSED_KINDS:
            dispatch.queue.answered(position)
        if delay is None:
            del self._attempts[position]
            self._add(position, self._result_of(position, custom_id, exchange))
        elif not self._stopping:
            self._options.observer.line_retried(exchange.kind)
            dispatch.queue.put_back(position, self._options.clock() + delay if delay else None)

    def failed(self, error: Exception) -> None:
        """As in `LineSource`."""
        self._error = error
        self._changed.set()

    # --- the end ----------------------------------------------------------------------------------------------------

    async def _until_stopped(self) -> tuple[str, str] | None:
        """Wait until all lines are done (None), or say why the others are not executed."""
        while self.left:
            if self._error is not None:
                raise self._error
            state = self._results.state
            if state.status is BatchStatus.CANCELLING:
                return CANCELLED
            now = state.now + self._options.clock() - self._results.state_at
            if now >= state.expires_at:
                return EXPIRED
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(WATCH_SECONDS, state.expires_at - now)):
                    await self._changed.wait()
            self._changed.clear()
        return None

    async def _wait_for_lines_in_flight(self) -> None:
        tasks = self._tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=self._options.cancel_seconds)

    async def _close_lines_in_flight(self) -> None:
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [task for dispatch in self._dispatches.values() for task in dispatch.tasks]

    async def _add_unexecuted(self, code: str, message: str) -> None:
        """Add a result for each line that was not executed, no faster than they are stored."""
        count = 0
        for position, done in enumerate(self._done):
            if done:
                continue
            await self._results.room()
            line = await self._file.read(self._index.offsets[position], self._index.lengths[position])
            custom_id, _ = parse_request(line)
            text = error_line(self.idempotency_key(position), custom_id, code, message)
            self._add(position, Result(ResultKind.ERROR, self._index.numbers[position], text))
            count += 1
            if not count % LINES_PER_TURN:
                await asyncio.sleep(0)

    # --- results ----------------------------------------------------------------------------------------------------

    def _add(self, position: int, result: Result) -> None:
        self._done[position] = 1
        self.left -= 1
        self.executed += result.completed or result.failed
        self._results.add(result)
        if self._results.full:
            self._pause_or_continue()
        if not self.left:
            self._changed.set()

    def _result_of(self, position: int, custom_id: bytes, exchange: Exchange) -> Result:
        number = self._index.numbers[position]
        result_id = self.idempotency_key(position)
        response = exchange.response
        if exchange.kind == "timeout":
            return Result(ResultKind.ERROR, number, error_line(result_id, custom_id, *TIMEOUT), failed=True)
        if response is None or (exchange.kind != "ok" and response.status < HTTP_ERROR):
            text = f"The request failed: {exchange.detail}"
            return Result(ResultKind.ERROR, number, error_line(result_id, custom_id, FAILED, text), failed=True)
        request_id, body = self._options.new_request_id(), response.body
        line = response_line(result_id, custom_id, response.status, request_id, body, seconds=exchange.seconds)
        if exchange.kind == "ok":
            return Result(ResultKind.OUTPUT, number, line, completed=True, usage=usage_of(exchange))
        return Result(ResultKind.ERROR, number, line, failed=True)

    def _pause_or_continue(self) -> None:
        paused = self._results.full or self._results.state.status is BatchStatus.CANCELLING
        for dispatch in self._dispatches.values():
            if dispatch.queue.paused != paused:
                dispatch.queue.paused = paused
                self._dispatcher.wake(dispatch)

    # --- queues -----------------------------------------------------------------------------------------------------

    def _build_queues(self) -> None:
        """A queue for each model, with the lines that are left in their order. Takes a while for many lines."""
        index = self._index
        undone = {number for number, done in zip(index.numbers, self._done, strict=True) if not done}
        order = order_lines(index, self.path, self._options.order, is_done=lambda number: number not in undone)
        positions: dict[int, array[int]] = {}
        starts: dict[int, array[int]] = {}
        previous: dict[int, int] = {}
        for position, group in zip(order.positions, order.groups, strict=True):
            model = index.model_numbers[position]
            of_model = positions.setdefault(model, array("I"))
            if previous.get(model) != group:
                starts.setdefault(model, array("I")).append(len(of_model))
                previous[model] = group
            of_model.append(position)
            self._groups[position] = group
        costs = _expected_tokens(index)
        for model, of_model in positions.items():
            queue = LineQueue(self.project_id, self._expires_at, of_model, starts[model], costs)
            self._dispatches[model] = Dispatch(self, queue, index.models[model] or "")


def _expected_tokens(index: LineIndex) -> "array[int]":
    """What each line probably takes. A maximum of output that is far beyond any model's says nothing."""
    expected = (
        prompt // BYTES_PER_TOKEN + min(output or DEFAULT_OUTPUT, MAX_OUTPUT)
        for prompt, output in zip(index.prompt_bytes, index.outputs, strict=True)
    )
    return array("I", expected)
