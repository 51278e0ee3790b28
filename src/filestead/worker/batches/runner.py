"""Runs jobs of the kind `batch`: validates the input, runs the lines, and publishes the results.

A job that starts again, on this node or another, validates the input again for its index, and goes on with the lines
that have no result.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from filestead.domain.batches.interfaces import BatchRunRepository
from filestead.domain.batches.model import (
    BatchError,
    BatchStatus,
    BatchTask,
    Parallelism,
    Pause,
    ResultBlock,
    RunState,
    Validated,
)
from filestead.domain.batches.validation import LineValidator, ValidationResult
from filestead.domain.errors import BlobNotFound, StorageFailed
from filestead.domain.jobs import Job, JobRepository
from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.quota import Quota
from filestead.worker.batches.dispatcher import Dispatcher
from filestead.worker.batches.finalizing import Finalizer, retried
from filestead.worker.batches.inputs import InputFile, Inputs
from filestead.worker.batches.pauses import REPORT_SECONDS, PauseReporter
from filestead.worker.batches.results import Results
from filestead.worker.batches.running import BatchRun, RunOptions
from filestead.worker.batches.validating import Validation, unknown_input

log = logging.getLogger("filestead")

CANCEL_CHECK_SECONDS = 1.0
MAX_MODELS = 256
"""Of one batch: each has a queue and a task of its own. Our choice."""

FLUSH_SECONDS = 5.0
"""How long a batch that is interrupted takes at most to store its finished lines."""


@dataclass(frozen=True, slots=True)
class Checks:
    """How inputs are validated."""

    decoders: Decoders
    single_model: bool
    serves: Callable[[str], bool]
    """Whether an endpoint is configured for a model."""


class BatchHandler:
    """A `Handler` of the worker."""

    def __init__(
        self,
        batches: BatchRunRepository,
        jobs: JobRepository,
        *,
        inputs: Inputs,
        checks: Checks,
        dispatcher: Dispatcher,
        finalizer: Finalizer,
        options: RunOptions,
        quota: Quota,
    ) -> None:
        self._batches = batches
        self._jobs = jobs
        self._inputs = inputs
        self._checks = checks
        self._dispatcher = dispatcher
        self._finalizer = finalizer
        self._options = options
        self._quota = quota
        self._running: set[Results] = set()

    def waiting(self) -> tuple[int, int, int]:
        """The number and the bytes of results that wait to be stored, and of batches that pause therefore."""
        found = [results.waiting for results in self._running]
        paused = sum(results.waiting_for is not None for results in self._running)
        return sum(count for count, _ in found), sum(size for _, size in found), paused

    async def run(self, job: Job) -> None:
        """Take the batch to its end. Failures of the database and the store are raised for a retry."""
        task = await self._batches.begin(job)
        if task is None:
            return
        if task.batch.status is BatchStatus.FINALIZING:
            counts = task.batch.counts
            await self._finish(job, task, executed=counts.completed + counts.failed, total=counts.total)
        elif _was_cancelled_before_start(task.batch.status, task):
            await self._finish(job, task, executed=0, total=0)
        elif task.input_blob_key is None:
            await self._fail(job, [unknown_input(task)])
        else:
            try:
                async with self._inputs.open(task) as file:
                    await self._run_file(job, task, file)
            except BlobNotFound:
                await self._end_without_input(job, task)

    async def give_up(self, job: Job, error: str) -> None:
        """Keep the job as a dead letter; its policy never gives up."""
        await self._jobs.bury(job, error)

    async def _run_file(self, job: Job, task: BatchTask, file: InputFile) -> None:
        found = await self._validate(job, task, file)
        if found is None:
            await self._finish(job, task, executed=0, total=0)
        elif not (errors := found.errors or _too_many_models(found)):
            await self._run_lines(job, task, file, found)
        elif task.batch.in_progress_at is None:
            await self._fail(job, errors)
        else:
            raise StorageFailed("the input of a batch has changed since it was validated")

    async def _validate(self, job: Job, task: BatchTask, file: InputFile) -> ValidationResult | None:
        """The outcome; None if the batch was cancelled meanwhile."""
        started = task.batch.in_progress_at is not None
        checks = self._checks
        validator = LineValidator(
            task.batch.endpoint,
            checks.decoders,
            single_model=checks.single_model and not started,
            # What runs already goes on with other settings, too.
            serves=(lambda model: True) if started else checks.serves,
        )
        validation = Validation(validator, file, clock=self._options.clock)
        checked_at = self._options.clock()
        while (found := await validation.step(self._options.run_in_thread)) is None:
            if started or self._options.clock() - checked_at < CANCEL_CHECK_SECONDS:
                continue
            state = await self._batches.append(job, (), quota=self._quota)
            if _was_cancelled_before_start(state.status, task):
                return None
            checked_at = self._options.clock()
        return found

    async def _run_lines(self, job: Job, task: BatchTask, file: InputFile, found: ValidationResult) -> None:
        state = await self._batches.start(job, Validated(found.total, found.model))
        if _was_cancelled_before_start(state.status, task):
            await self._finish(job, task, executed=0, total=0)
            return
        clock = self._options.clock
        journal = _Journal(self._batches, job, self._quota, state, clock)
        observer = self._options.observer
        results = Results(task.batch.id, journal, clock, state=state, state_at=clock(), observer=observer)
        run = BatchRun(task, file, found.index, results=results, dispatcher=self._dispatcher, options=self._options)
        results.on_change = run.on_change
        results.is_busy = self._dispatcher.throttle.is_busy
        journal.parallelism = run.parallelism
        run.mark_done(await self._batches.done_lines(task.batch.id))
        log.info("batch %s runs: %d of %d lines are left", task.batch.id, run.left, found.total)
        self._running.add(results)
        try:
            async with _reporting(PauseReporter(run.pauses, journal, task.batch.pauses)):
                await _both(run.run(), results)
        finally:
            self._running.discard(results)
        await self._finish(job, task, executed=run.executed, total=found.total)

    async def _finish(self, job: Job, task: BatchTask, *, executed: int, total: int) -> None:
        """Publish the results. Only the lines of a batch that expired are not all executed: others were cancelled."""
        if total:
            await retried(f"batch {task.batch.id}", lambda: self._batches.start_finalizing(job))
        status = BatchStatus.COMPLETED if executed == total else BatchStatus.EXPIRED
        status = await self._finalizer.finish(job, task.batch.id, status)
        self._options.observer.batch_ended(status.value)
        log.info("batch %s is %s: %d of %d lines were executed", task.batch.id, status.value, executed, total)

    async def _fail(self, job: Job, errors: Sequence[BatchError]) -> None:
        """End a batch whose validation found faults."""
        status = await self._batches.fail(job, errors)
        self._options.observer.batch_ended(status.value)

    async def _end_without_input(self, job: Job, task: BatchTask) -> None:
        """The content of the input is missing or damaged."""
        if task.batch.in_progress_at is None:
            text = f"The content of file {task.batch.input_file_id} is missing or damaged."
            await self._fail(job, [BatchError("invalid_request", text, None, "file_id")])
        elif task.batch.status is BatchStatus.CANCELLING or task.now >= task.batch.expires_at:
            counts = task.batch.counts
            await self._finish(job, task, executed=counts.completed + counts.failed, total=counts.total)
        else:
            raise StorageFailed(f"the content of the input of {task.batch.id} is missing or damaged")


@dataclass(slots=True)
class _Journal:
    """The journal of the batch of a job."""

    batches: BatchRunRepository
    job: Job
    quota: Quota
    state: RunState
    clock: Callable[[], float]
    parallelism: Callable[[], Parallelism | None] = lambda: None
    _stored: Parallelism | None = None
    _stored_at: float = float("-inf")

    async def append(self, blocks: Sequence[ResultBlock], lines_per_second: float | None) -> RunState:
        """Append; a batch that ends early must end, so that what is left of it may exceed the quota."""
        ends_early = self.state.status is BatchStatus.CANCELLING or self.state.now >= self.state.expires_at
        quota = Quota(None, None) if ends_early else self.quota
        found = self.parallelism()
        self.state = await self.batches.append(
            self.job, blocks, quota=quota, lines_per_second=lines_per_second, parallelism=found
        )
        if blocks:
            self._note(found)
        return self.state

    @property
    def is_current(self) -> bool:
        """Whether the row has the parallelism of the last second, or that of now."""
        return self.clock() - self._stored_at < REPORT_SECONDS or self._stored == self.parallelism()

    async def set_pauses(self, pauses: Sequence[Pause]) -> None:
        """Store pauses, and the parallelism with them."""
        found = self.parallelism()
        await self.batches.set_pauses(self.job, pauses, found)
        self._note(found)

    def _note(self, parallelism: Parallelism | None) -> None:
        self._stored, self._stored_at = parallelism, self.clock()


def _too_many_models(found: ValidationResult) -> list[BatchError]:
    count = len(found.index.models)
    text = f"The batch names {count} models. The maximum is {MAX_MODELS}; please split the batch."
    return [BatchError("too_many_models_in_batch", text, None, "body.model")] if count > MAX_MODELS else []


def _was_cancelled_before_start(status: BatchStatus, task: BatchTask) -> bool:
    return status is BatchStatus.CANCELLING and task.batch.in_progress_at is None


@contextlib.asynccontextmanager
async def _reporting(reporter: PauseReporter) -> AsyncIterator[None]:
    """Report pauses within the block."""
    task = asyncio.create_task(reporter.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _both(run: Awaitable[None], results: Results) -> None:
    """Run a batch while its results are stored. At an interruption, the finished lines are stored all the same."""
    running = asyncio.ensure_future(run)
    storing = asyncio.create_task(results.run())
    try:
        await asyncio.wait({running, storing}, return_when=asyncio.FIRST_COMPLETED)
        if storing.done():  # it never ends by itself
            storing.result()
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        results.close()
        await asyncio.wait({storing}, timeout=FLUSH_SECONDS)
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
