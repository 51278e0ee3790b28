"""What runs batches in a process, built from the settings and an opened installation."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic, time

from filestead.blobs.keys import new_key
from filestead.decoders import DECODERS
from filestead.domain.batches.observation import BatchObserver, BatchState
from filestead.domain.batches.order import OrderMode
from filestead.domain.files.digester import RunInThread
from filestead.domain.forwarding.interfaces import FileResolver
from filestead.domain.jobs import JobKind
from filestead.domain.observation import Observer
from filestead.domain.quota import Quota
from filestead.egress import Egress, origin_of
from filestead.inference.endpoints import Endpoints
from filestead.installation import Backends, new_id
from filestead.settings import Settings
from filestead.worker.batches.dispatcher import Dispatcher
from filestead.worker.batches.file_lines import FileLines
from filestead.worker.batches.finalizing import Finalizer
from filestead.worker.batches.inputs import Inputs
from filestead.worker.batches.runner import BatchHandler, Checks
from filestead.worker.batches.running import RunOptions
from filestead.worker.batches.throttle import Throttle
from filestead.worker.webhooks import Webhook, WebhookHandler
from filestead.worker.worker import Worker

SLOTS = 32
"""Batches that a process runs at a time."""
SLOTS_PER_PROJECT = 8
WEBHOOK_SLOTS = 4
LEASE_SECONDS = 30
SAMPLE_SECONDS = 1.0
"""Interval at which lines in flight, limits, pauses and waiting results are looked at, for metrics."""


@dataclass(frozen=True, slots=True)
class BatchRunner:
    """The worker of batches with what it needs, and the one that reports their ends."""

    worker: Worker
    webhook_worker: Worker | None
    endpoints: Endpoints
    """For samples of their state; whoever builds them runs and closes them."""
    dispatcher: Dispatcher
    throttle: Throttle
    """To be told of the requests that the process serves."""
    handler: BatchHandler
    observer: BatchObserver

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run batches within the block. At its end their jobs are given back, and finished lines are stored."""
        workers = [
            asyncio.create_task(worker.run()) for worker in (self.worker, self.webhook_worker) if worker is not None
        ]
        samples = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            await _cancelled(*workers)
            await self.dispatcher.close()
            await _cancelled(samples)

    async def _sample(self) -> None:
        """Report the present state now and then, until cancelled."""
        while True:
            endpoints = self.endpoints.all
            results, size, paused = self.handler.waiting()
            self.observer.sampled(
                BatchState(
                    lanes=[lane for endpoint in endpoints for lane in endpoint.lane_states()],
                    upstreams=[endpoint.state() for endpoint in endpoints],
                    waiting_results=results,
                    waiting_bytes=size,
                    paused_batches=paused,
                )
            )
            await asyncio.sleep(SAMPLE_SECONDS)


def build_batch_runner(
    settings: Settings,
    backends: Backends,
    endpoints: Endpoints,
    resolver: FileResolver,
    *,
    run_in_thread: RunInThread,
    run_line_checks: RunInThread,
    observer: Observer,
    batch_observer: BatchObserver,
) -> BatchRunner:
    """Build what runs batches. `run_line_checks` runs one function at a time."""
    throttle = Throttle(monotonic)
    dispatcher = Dispatcher(endpoints, FileLines(resolver), monotonic, throttle)
    handler = BatchHandler(
        backends.batch_runs,
        backends.jobs,
        inputs=Inputs(backends.files, backends.blobs, run_in_thread, local=backends.local_content, folder=None),
        checks=Checks(
            DECODERS,
            single_model=settings.batch_models == "single",
            # Without endpoints, batches wait for a server that has some.
            serves=lambda model: not endpoints or bool(endpoints.for_model(model)),
        ),
        dispatcher=dispatcher,
        finalizer=Finalizer(
            backends.batch_runs,
            backends.files,
            backends.blobs,
            new_file_id=lambda: new_id("file-"),
            new_blob_key=new_key,
        ),
        options=RunOptions(
            cancel_seconds=settings.batch_cancel_seconds,
            order=OrderMode(settings.batch_order),
            clock=monotonic,
            new_request_id=lambda: str(uuid.uuid4()),
            run_in_thread=run_line_checks,
            observer=batch_observer,
        ),
        quota=Quota(settings.project_quota, settings.organization_quota),
    )
    worker = Worker(
        backends.jobs,
        {JobKind.BATCH: handler},
        slots=SLOTS,
        slots_per_project=SLOTS_PER_PROJECT,
        lease_seconds=LEASE_SECONDS,
        new_token=lambda: new_id(""),
        observer=observer,
    )
    webhook_worker = _build_webhook_worker(settings, backends, observer, batch_observer)
    return BatchRunner(worker, webhook_worker, endpoints, dispatcher, throttle, handler, batch_observer)


def _build_webhook_worker(
    settings: Settings, backends: Backends, observer: Observer, batch_observer: BatchObserver
) -> Worker | None:
    url, secret = settings.webhook_url, settings.webhook_secret
    if url is None or secret is None:
        return None
    egress = Egress(
        [origin_of(url)], allow_link_local=settings.allow_link_local, allow_private=settings.webhook_private
    )
    webhook = Webhook(url, secret.get_secret_value(), egress)
    handler = WebhookHandler(backends.webhook_events, backends.jobs, webhook, now=time, observer=batch_observer)
    return Worker(
        backends.jobs,
        {JobKind.WEBHOOK: handler},
        slots=WEBHOOK_SLOTS,
        new_token=lambda: new_id(""),
        observer=observer,
    )


async def _cancelled(*tasks: "asyncio.Task[None]") -> None:
    """Cancel tasks and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
