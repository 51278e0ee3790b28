"""The claim loop of a process, and the heartbeat of the jobs that it holds.

A job whose lease was lost is cancelled: another worker may have it already. At a shutdown the jobs in progress are
given back. A failure is retried with growing delays, as the policy of its kind says; then the job goes to the dead
letters. An outage of the database or the blob store is waited for, however long it takes.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Protocol

from filestead.domain.errors import DomainError, JobLost, StoreUnavailable
from filestead.domain.jobs import (
    JITTER,
    LEASE_SECONDS,
    OUTAGE_SECONDS,
    RETRY_POLICIES,
    Job,
    JobKind,
    JobRepository,
    RetryPolicy,
)
from filestead.domain.observation import UNOBSERVED, Observer
from filestead.domain.retry import retry_until_deadline

log = logging.getLogger("filestead")

HEARTBEATS_PER_LEASE = 5
POLL_SECONDS = 1.0
"""How soon a job of another process is found; those of this process wake the worker."""


class Handler(Protocol):
    """What a kind of job does."""

    async def run(self, job: Job) -> None:
        """Do the work, commit its effect and finish the job, in one transaction."""

    async def give_up(self, job: Job, error: str) -> None:
        """Record for the user that the work has failed for good, and move the job to the dead letters."""


class Worker:
    """Runs up to `slots` jobs at a time."""

    def __init__(
        self,
        jobs: JobRepository,
        handlers: Mapping[JobKind, Handler],
        *,
        slots: int,
        new_token: Callable[[], str],
        slots_per_project: int | None = None,
        lease_seconds: int = LEASE_SECONDS,
        observer: Observer = UNOBSERVED,
    ) -> None:
        """`slots_per_project` is for jobs that run for long: one project may not take all slots."""
        self._observer = observer
        self._jobs = jobs
        self._handlers = handlers
        self._slots = slots
        self._slots_per_project = slots_per_project
        self._lease_seconds = lease_seconds
        self._new_token = new_token
        self._wake = asyncio.Event()
        self._running: dict[asyncio.Task[None], Job] = {}

    def wake(self) -> None:
        """Look for jobs now: one was added by this process."""
        self._wake.set()

    async def run(self) -> None:
        """Claim and run jobs until cancelled."""
        heartbeat = asyncio.create_task(self._keep_leases())
        try:
            while True:
                self._wake.clear()
                claimed = await self._claim()
                if claimed and len(self._running) < self._slots:
                    continue
                # Not `wait_for`: in Python 3.11 it loses a cancellation that comes together with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._wake.wait()
        finally:
            heartbeat.cancel()
            await asyncio.shield(self._stop())

    async def _claim(self) -> int:
        free = self._slots - len(self._running)
        if free <= 0:
            return 0
        share = self._slots_per_project
        running = Counter(job.project_id for job in self._running.values())
        claiming = asyncio.ensure_future(
            self._jobs.claim(
                list(self._handlers),
                token=self._new_token(),
                lease_seconds=self._lease_seconds,
                limit=free if share is None else 1,  # one by one, as a project may get to its share
                exclude_projects=[] if share is None else [each for each, held in running.items() if held >= share],
            )
        )
        try:
            jobs = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # The transaction goes on, and nobody else would know whose lease it is.
            with contextlib.suppress(DomainError):
                await self._jobs.release(await claiming)
            raise
        except DomainError as error:
            log.warning("no jobs can be claimed now: %s", error)
            return 0
        for job in jobs:
            task = asyncio.create_task(self._run_job(job))
            self._running[task] = job
            task.add_done_callback(self._ended)
        return len(jobs)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._wake.set()

    async def _stop(self) -> None:
        """Cancel the jobs in progress and give them back."""
        jobs = list(self._running.values())
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(DomainError):
            await self._jobs.release(jobs)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / HEARTBEATS_PER_LEASE)
            held = dict(self._running)
            if not held:
                continue
            try:
                kept = await self._jobs.renew(list(held.values()), lease_seconds=self._lease_seconds)
            except DomainError as error:
                log.warning("the leases of %d jobs were not renewed: %s", len(held), error)
                continue
            for task, job in held.items():
                if job.id not in kept:
                    _log_loss(job)
                    task.cancel()

    async def _run_job(self, job: Job) -> None:
        handler = self._handlers[job.kind]
        started = perf_counter()
        outcome = "lost"
        try:
            if _policy(job).is_last(job.attempts - 1):  # the last attempts have ended with their workers
                outcome = "dead"
                await self._give_up(handler, job, "its workers died during every attempt")
                return
            await handler.run(job)
            outcome = "done"
        except JobLost:
            _log_loss(job)
        except Exception as error:
            outcome = "dead" if _is_given_up(job, error) else "failed"
            await self._failed(handler, job, error)
        finally:
            self._observer.job_ended(job.kind, outcome, perf_counter() - started)

    async def _failed(self, handler: Handler, job: Job, error: Exception) -> None:
        if isinstance(error, DomainError):
            log.warning("job %d (%s %s) failed: %s", job.id, job.kind, job.subject, error)
        else:
            log.exception("job %d (%s %s) failed", job.id, job.kind, job.subject)
        text = f"{type(error).__name__}: {error}"
        try:
            if _is_given_up(job, error):
                await self._give_up(handler, job, text)
                return
            delays, is_outage = _policy(job).delays, isinstance(error, StoreUnavailable)
            delay = OUTAGE_SECONDS if is_outage else delays[min(max(job.attempts, 1), len(delays)) - 1]
            delay *= random.uniform(1, 1 + JITTER)
            await retry_until_deadline(
                lambda: self._jobs.retry(job, text, delay_seconds=delay, counted=not is_outage), StoreUnavailable
            )
        except DomainError as failure:
            log.warning("job %d waits for the end of its lease: %s", job.id, failure)

    async def _give_up(self, handler: Handler, job: Job, error: str) -> None:
        log.error(
            "job %d (%s %s) is given up after %d attempts: %s", job.id, job.kind, job.subject, job.attempts, error
        )
        with contextlib.suppress(JobLost):
            await handler.give_up(job, error)


def _log_loss(job: Job) -> None:
    log.info("job %d (%s) is not ours any more: its subject is gone, or another worker has it", job.id, job.kind)


def _is_given_up(job: Job, error: Exception) -> bool:
    """Whether this failure is the last one."""
    return _policy(job).is_last(job.attempts) and not isinstance(error, StoreUnavailable)


def _policy(job: Job) -> RetryPolicy:
    return RETRY_POLICIES.get(job.kind, RetryPolicy())
