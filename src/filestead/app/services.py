"""Domain services and background tasks, built from the settings and an opened installation."""

import asyncio
import contextlib
import functools
import importlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, time
from typing import Any

from filestead.app.batches import BatchRunner, build_batch_runner
from filestead.app.embedding import build_embedders
from filestead.app.endpoints import build_endpoints
from filestead.blobs.keys import new_inline_key, new_key
from filestead.decoders import DECODERS
from filestead.domain.access import Authenticator
from filestead.domain.administration import Administration
from filestead.domain.audit.denials import PERIOD_SECONDS, DenialCounter
from filestead.domain.batches.observation import UNOBSERVED_BATCHES, BatchObserver
from filestead.domain.batches.results import ResultReader
from filestead.domain.batches.retrying import Retrying
from filestead.domain.batches.service import Batches
from filestead.domain.errors import DomainError
from filestead.domain.files.content import ContentReader
from filestead.domain.files.digester import RunInThread
from filestead.domain.files.model import Limits
from filestead.domain.files.purposes import RULES
from filestead.domain.files.service import LEASE_SECONDS, Files
from filestead.domain.files.sweep import Sweeper
from filestead.domain.files.validation import JSONL_CHECKS, UploadPolicy
from filestead.domain.forwarding.observation import UNOBSERVED_FORWARDING, ForwardingObserver
from filestead.domain.jobs import JobKind
from filestead.domain.observation import UNOBSERVED, Observer
from filestead.domain.quota import Quota
from filestead.domain.uploads.service import Uploads
from filestead.domain.vector_stores.embeddings import Embedders
from filestead.domain.vector_stores.hybrid import DenseSearch
from filestead.domain.vector_stores.scan import Cache, ScannedVectors
from filestead.domain.vector_stores.search import Ranker, Search
from filestead.domain.vector_stores.service import VectorStores
from filestead.inference.forwarding import EndpointForwarder
from filestead.installation import Backends, new_id
from filestead.installation.upkeep import sweep_index, sweep_journals
from filestead.references.resolver import ReferenceResolver
from filestead.references.texts import Texts
from filestead.sandbox.limits import Limits as SandboxLimits
from filestead.sandbox.pool import SandboxPool
from filestead.search.fusion import hybrid
from filestead.settings import Settings
from filestead.wire import PausedUpstream
from filestead.worker.checking import CheckHandler
from filestead.worker.embedding import EmbedHandler
from filestead.worker.indexing import PREPARE, PREPARE_WITH_VECTORS, TASK, IndexHandler
from filestead.worker.merging import MergeHandler
from filestead.worker.worker import Handler, Worker

log = logging.getLogger("filestead")

HASH_THREADS = 4
SEARCH_THREADS = 2
JOBS_PER_PROCESS = 6
EXTRACT = "filestead.references.extract_task:extract"
PREPARE_EXTRACTION = "filestead.references.extract_task:prepare"
LOOK_SECONDS = 600.0
"""Interval at which stores are looked for that have no vectors of the model that the settings name."""
STORES_PER_LOOK = 1_000
SEAL_SECONDS = 2.0
"""Interval at which new events of the audit log are added to its chain; until then, they are not listed."""
DAY_SECONDS = 86_400
UNDO_SECONDS = 2.0
"""How long a shutdown waits for cancelled uploads; what is left then is swept."""


class Services:
    """The domain services of a process. It closes the backends when it shuts down."""

    def __init__(
        self,
        settings: Settings,
        backends: Backends,
        observer: Observer = UNOBSERVED,
        batch_observer: BatchObserver = UNOBSERVED_BATCHES,
        forwarding_observer: ForwardingObserver = UNOBSERVED_FORWARDING,
    ) -> None:
        self._backends = backends
        self._observer = observer
        self._hash_threads = ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="filestead-hash")
        self._line_thread = ThreadPoolExecutor(1, thread_name_prefix="filestead-lines")
        self.authenticator = Authenticator(backends.keys, monotonic=monotonic)
        self.files = Files(
            backends.files,
            backends.blobs,
            UploadPolicy(
                _limits(settings),
                settings.validation,
                settings.downloads == "openai",
                inline_bytes=int(settings.inline_bytes),
                match_retries=settings.match_retries,
            ),
            new_file_id=lambda: new_id("file-"),
            new_blob_key=new_key,
            new_inline_key=lambda: new_inline_key(int(time() * 1000)),
            line_decoders=DECODERS,
            run_in_thread=_run_on(self._hash_threads),
            run_line_checks=_run_on(self._line_thread),
        )
        self.administration = Administration(
            backends.projects,
            backends.keys,
            new_id=new_id,
            monotonic=monotonic,
            quota=_quota(settings),
            uploads_per_minute=settings.uploads_per_minute,
        )
        self._endpoints = build_endpoints(settings, batch_observer)
        self.forwarder = EndpointForwarder(self._endpoints, forwarding_observer)
        self._texts = Texts(_build_extraction_pool(settings), max_tokens=settings.reference_tokens)
        self.file_resolver = ReferenceResolver(
            backends.files,
            lambda file: self.files.read(file, 0, file.bytes),
            self._texts,
            max_tokens=settings.reference_tokens,
            run_in_thread=_run_on(self._hash_threads),
        )
        embedders = build_embedders(settings)
        self._embedders = embedders
        self._pool: SandboxPool | None = None
        self.worker: Worker | None = None
        self.batch_runner: BatchRunner | None = None
        if settings.role != "api":
            self._pool = _build_pool(settings)
            self.worker = self._build_worker(settings, self._pool)
            self.batch_runner = build_batch_runner(
                settings,
                backends,
                self._endpoints,
                self.file_resolver,
                run_in_thread=_run_on(self._hash_threads),
                run_line_checks=_run_on(self._line_thread),
                observer=observer,
                batch_observer=batch_observer,
            )
        self.uploads = Uploads(
            backends.uploads,
            backends.files,
            backends.blobs,
            _limits(settings),
            new_random=lambda: secrets.token_hex(12),
            new_file_id=lambda: new_id("file-"),
            new_blob_key=new_key,
            line_decoders=DECODERS,
            run_in_thread=_run_on(self._hash_threads),
            check_purposes=_checked_purposes(settings),
            completed=self.worker.wake if self.worker is not None else lambda: None,
        )
        self.vector_stores = VectorStores(
            backends.vector_stores,
            new_id=new_id,
            attached_files_per_minute=settings.attached_files_per_minute,
            match_retries=settings.match_retries,
            added=self.worker.wake if self.worker is not None else lambda: None,
        )
        self._search_threads = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="filestead-search")
        self.search = Search(
            backends.vector_stores,
            backends.index,
            _ranker,
            run_in_thread=_run_on(self._search_threads),
            dense=self._build_dense_search(settings, embedders) if embedders is not None else None,
        )
        self.batches = Batches(
            backends.batches,
            new_random=lambda: secrets.token_hex(12),
            windows=settings.batch_window_seconds,
            has_upstream=lambda: settings.has_upstream,
            batches_per_hour=settings.batches_per_hour,
            match_retries=settings.match_retries,
            added=self.batch_runner.worker.wake if self.batch_runner is not None else lambda: None,
        )
        self.batch_results = ResultReader(backends.batches, self.files)
        self.batch_retrying = Retrying(self.batches, self.files, run_in_thread=_run_on(self._hash_threads))
        self.denials = DenialCounter()
        self._audit_seconds = settings.audit_retention * DAY_SECONDS
        self._sweeper = Sweeper(backends.files, backends.blobs)
        self._sweep_seconds = settings.sweep_seconds

    def _build_dense_search(self, settings: Settings, embedders: Embedders) -> DenseSearch:
        backends = self._backends
        nearest = backends.nearest or ScannedVectors(
            backends.vector_blocks,
            _vector_cache(int(settings.embeddings_cache)),
            run_in_thread=_run_on(self._search_threads),
        )
        return DenseSearch(backends.vectors, embedders, nearest, hybrid)

    def _build_worker(self, settings: Settings, pool: SandboxPool) -> Worker:
        backends = self._backends
        handlers: dict[JobKind, Handler] = {
            JobKind.INDEX: IndexHandler(
                backends.index,
                backends.jobs,
                lambda file: self.files.read(file, 0, file.bytes),
                pool,
                max_tokens=settings.max_indexed_tokens,
                quota=_quota(settings),
                vectors=backends.vectors,
                embedder=None if self._embedders is None else self._embedders.target,
                observer=self._observer,
            ),
            JobKind.MERGE: MergeHandler(backends.index, backends.jobs),
            JobKind.CHECK: CheckHandler(
                backends.uploads,
                backends.jobs,
                ContentReader(backends.files, backends.blobs, _run_on(self._hash_threads)).read_verified,
                validation=settings.validation,
                line_decoders=DECODERS,
                run_in_thread=_run_on(self._hash_threads),
                run_line_checks=_run_on(self._line_thread),
            ),
        }
        if self._embedders is not None:
            handlers[JobKind.EMBED] = EmbedHandler(backends.vectors, backends.jobs, self._embedders)
        # While some are in the sandbox, others are read and stored; the database commits those together.
        slots = JOBS_PER_PROCESS * settings.indexing_processes
        return Worker(backends.jobs, handlers, slots=slots, new_token=lambda: new_id(""), observer=self._observer)

    async def find_unavailable_component(self) -> str | None:
        """Return the component without which uploads fail now, and log the reason; None if there is none."""
        try:
            await self._backends.keys.find("")  # the cheapest query
        except DomainError as error:
            log.warning("not ready: %s", error)
            return "the database"
        if (reason := await self._backends.blobs.unavailable_reason()) is not None:
            log.warning("not ready: %s", reason)
            return "the blob store"
        return None

    async def find_paused_upstreams(self) -> list[PausedUpstream]:
        """The model servers that receive no requests now, and why; public: no addresses, no keys.

        Of this process, and of those that run batches.
        """
        found = {(paused.name, paused.model): paused.reason for paused in self._endpoints.paused()}
        with contextlib.suppress(DomainError):
            for pause in await self._backends.batches.pauses():
                if pause.upstream is not None:
                    found.setdefault((pause.upstream, pause.model), pause.reason)
        return [PausedUpstream(name=name, model=model, reason=reason) for (name, model), reason in found.items()]

    async def _add_embed_jobs(self) -> None:
        """Add jobs for stores that have vectors of another model, or none: the settings have changed, or a job died."""
        assert self._embedders is not None, "started only with embeddings"
        if await self._backends.vectors.add_jobs(self._embedders.target.name, limit=STORES_PER_LOOK) and self.worker:
            self.worker.wake()

    async def _sweep_journals(self) -> None:
        await sweep_journals(self._backends)

    async def _sweep_index(self) -> None:
        await sweep_index(self._backends)

    async def _seal_events(self) -> None:
        while await self._backends.audit.seal():
            pass

    async def _prune_events(self) -> None:
        while self._audit_seconds and await self._backends.audit.prune(self._audit_seconds):
            pass

    async def _record_denials(self) -> None:
        await self.denials.flush(self._backends.audit)

    async def _await_uploads(self) -> None:
        """Wait for uploads that the shutdown has cancelled: what they have stored is being deleted."""
        deadline = monotonic() + UNDO_SECONDS
        while (self.files.is_receiving or self.uploads.is_receiving) and monotonic() < deadline:  # noqa: ASYNC110 - once
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the background tasks; shut everything down at the end."""
        sweeps = (self._sweeper.sweep, self._sweep_journals, self._sweep_index, self._prune_events)
        background_tasks = [
            asyncio.create_task(_repeat(self._sweep_seconds, *sweeps)),
            asyncio.create_task(_repeat(LEASE_SECONDS / 4, self.files.renew_leases, self.uploads.renew_leases)),
            asyncio.create_task(self._endpoints.run()),
            # Not at once: a start and a short request have no need of it.
            asyncio.create_task(_repeat(SEAL_SECONDS, self._seal_events, delay=SEAL_SECONDS)),
            asyncio.create_task(_repeat(PERIOD_SECONDS, self._record_denials, delay=PERIOD_SECONDS)),
        ]
        if self.worker is not None:
            background_tasks.append(asyncio.create_task(self.worker.run()))
            if self._embedders is not None:
                background_tasks.append(asyncio.create_task(_repeat(LOOK_SECONDS, self._add_embed_jobs)))
        try:
            async with self.batch_runner.running() if self.batch_runner is not None else contextlib.nullcontext():
                yield
        finally:
            await self._await_uploads()
            for task in background_tasks:
                task.cancel()
            await asyncio.gather(*background_tasks, return_exceptions=True)
            with contextlib.suppress(DomainError):
                await self._record_denials()
                await self._seal_events()
            self._endpoints.close()
            await self._texts.close()
            if self._pool is not None:
                await self._pool.__aexit__(None, None, None)
            self._search_threads.shutdown()
            self._hash_threads.shutdown()
            self._line_thread.shutdown()
            self._backends.close()


def _sandbox_limits(settings: Settings) -> SandboxLimits:
    return SandboxLimits(
        memory_bytes=int(settings.indexing_memory),
        cpu_seconds=int(settings.indexing_seconds) + 1,
        wall_seconds=settings.indexing_seconds,
    )


def _build_extraction_pool(settings: Settings) -> SandboxPool:
    """For the documents that requests name; its processes start with the first of them."""
    limits = _sandbox_limits(settings)
    return SandboxPool(settings.indexing_processes, limits, task=EXTRACT, prepare=PREPARE_EXTRACTION)


def _build_pool(settings: Settings) -> SandboxPool:
    limits = _sandbox_limits(settings)
    prepare = PREPARE_WITH_VECTORS if settings.embeddings == "local" else PREPARE
    return SandboxPool(settings.indexing_processes, limits, task=TASK, prepare=prepare)


def _ranker() -> Ranker:
    """The ranking of the search, which is loaded by the first one: numpy takes 20 MB."""
    ranking: Ranker = importlib.import_module("filestead.search.ranking")
    return ranking


def _quota(settings: Settings) -> Quota:
    return Quota(settings.project_quota, settings.organization_quota)


def _vector_cache(max_bytes: int) -> Callable[[], Cache]:
    """The cache of vectors, which is loaded by the first search."""

    @functools.cache
    def load() -> Cache:
        cache: Cache = importlib.import_module("filestead.search.dense").VectorCache(max_bytes)
        return cache

    return load


def _checked_purposes(settings: Settings) -> frozenset[str]:
    """Purposes whose lines are checked after an upload in parts, as those of whole uploads are while they stream."""
    if settings.validation == "openai":
        return frozenset()
    return frozenset(purpose for purpose, rule in RULES.items() if rule.check in JSONL_CHECKS)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_file_bytes=int(settings.max_file_bytes),
        max_batch_file_bytes=int(settings.max_batch_file_bytes),
        quota=_quota(settings),
        uploads_per_minute=settings.uploads_per_minute,
        batch_expiry_seconds=settings.batch_expiry_seconds or None,
    )


def _run_on(threads: ThreadPoolExecutor) -> RunInThread:
    def submit(function: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(threads, function, *args)

    return submit


async def _repeat(seconds: float, *tasks: Callable[[], Awaitable[object]], delay: float = 0) -> None:
    """Run tasks one after the other, periodically, for ever. A failure is logged, and the next run tries again.

    The first run comes after `delay` seconds.
    """
    await asyncio.sleep(delay)
    while True:
        for task in tasks:
            try:
                await task()
            except DomainError as error:
                log.error("%s failed: %s", task.__qualname__, error)
            except Exception:
                log.exception("%s failed", task.__qualname__)
        await asyncio.sleep(seconds)
