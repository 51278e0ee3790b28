"""The open backends of an installation, and fresh ids."""

import functools
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from filestead.blobs.health import HealthCheckedBlobs
from filestead.blobs.local.store import LocalBlobs
from filestead.blobs.observed import ObservedBlobs
from filestead.blobs.routed import RoutedBlobs
from filestead.database.engines.statements import Database
from filestead.database.repositories.audit_log import SqlAuditLog
from filestead.database.repositories.batches.events import SqlWebhookEventRepository
from filestead.database.repositories.batches.repository import SqlBatchRepository
from filestead.database.repositories.batches.runs import SqlBatchRunRepository
from filestead.database.repositories.contents import SqlContentRepository
from filestead.database.repositories.figures import SqlFigures
from filestead.database.repositories.files.inline import SqlInlineBlobs
from filestead.database.repositories.files.repository import SqlFileRepository
from filestead.database.repositories.jobs import SqlJobRepository
from filestead.database.repositories.keys import SqlKeyRepository
from filestead.database.repositories.projects import SqlProjectRepository
from filestead.database.repositories.table_copier import TableCopier
from filestead.database.repositories.uploads.repository import SqlUploadRepository
from filestead.database.repositories.vector_stores.copying import VectorCopier
from filestead.database.repositories.vector_stores.index import SqlIndexRepository
from filestead.database.repositories.vector_stores.pgvector import PgvectorSearch
from filestead.database.repositories.vector_stores.repository import SqlVectorStoreRepository
from filestead.database.repositories.vector_stores.vector_tables import SqlVectorBlocks
from filestead.database.repositories.vector_stores.vectors import SqlVectorRepository
from filestead.domain.access import KeyRepository
from filestead.domain.administration import ProjectRepository
from filestead.domain.audit.events import AuditLog
from filestead.domain.batches.interfaces import BatchRepository, BatchRunRepository, WebhookEventRepository
from filestead.domain.blobs import ContentRepository, DirectDownloads, LocalContent
from filestead.domain.clock import ClockWatch
from filestead.domain.figures import FiguresRepository
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.jobs import JobRepository
from filestead.domain.observation import UNOBSERVED, Observer
from filestead.domain.random_bits import random_bits
from filestead.domain.uploads.interfaces import UploadRepository
from filestead.domain.vector_stores.embeddings import NearestChunks, VectorBlocks, VectorRepository
from filestead.domain.vector_stores.interfaces import IndexRepository, VectorStoreRepository
from filestead.settings import Settings

if TYPE_CHECKING:
    from filestead.blobs.s3.store import S3Blobs

T = TypeVar("T")

ID_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Backends:
    """The open repositories and blob store of an installation; `close` closes them all."""

    files: FileRepository
    keys: KeyRepository
    projects: ProjectRepository
    jobs: JobRepository
    uploads: UploadRepository
    vector_stores: VectorStoreRepository
    index: IndexRepository
    vectors: VectorRepository
    vector_blocks: VectorBlocks
    nearest: NearestChunks | None
    """Search by vectors in the database; None where `vector_blocks` are scanned instead."""
    batches: BatchRepository
    batch_runs: BatchRunRepository
    webhook_events: WebhookEventRepository
    blobs: HealthCheckedBlobs
    tables: TableCopier
    vector_copier: VectorCopier
    close: Callable[[], None]
    figures: FiguresRepository
    contents: ContentRepository
    audit: AuditLog
    direct_downloads: DirectDownloads | None = None
    """Signs download URLs, where the blob store can."""
    local_content: LocalContent | None = None
    """Opens blobs as files, where they are."""


def build_backends(
    settings: Settings, database: Database, blobs: "LocalBlobs | S3Blobs", observer: Observer = UNOBSERVED
) -> Backends:
    """Build the repositories on an open database and blob store, which `close` closes."""

    def close() -> None:
        database.close()
        blobs.close()

    watch = ClockWatch(settings.sweep_quarantine)
    is_sqlite = database.dialect.name == "sqlite"
    free_space = blobs.require_free_space if isinstance(blobs, LocalBlobs) and is_sqlite else None
    routed = RoutedBlobs(blobs, _deferred(lambda: SqlInlineBlobs(database)))
    return Backends(
        _deferred(lambda: SqlFileRepository(database, watch, free_space)),
        _deferred(lambda: SqlKeyRepository(database, new_id)),
        _deferred(lambda: SqlProjectRepository(database)),
        _deferred(lambda: SqlJobRepository(database)),
        _deferred(lambda: SqlUploadRepository(database, watch)),
        _deferred(lambda: SqlVectorStoreRepository(database, watch)),
        _deferred(lambda: SqlIndexRepository(database, watch)),
        _deferred(lambda: SqlVectorRepository(database)),
        _deferred(lambda: SqlVectorBlocks(database)),
        None if is_sqlite else PgvectorSearch(database),
        _deferred(lambda: SqlBatchRepository(database, watch)),
        _deferred(
            lambda: SqlBatchRunRepository(
                database,
                new_id,
                watch=watch,
                webhook=settings.webhook_url is not None,
                require_free_space=free_space,
            )
        ),
        _deferred(lambda: SqlWebhookEventRepository(database)),
        HealthCheckedBlobs(ObservedBlobs(routed, observer), observer),
        TableCopier(database, watch),
        _deferred(lambda: VectorCopier(database)),
        close,
        _deferred(lambda: SqlFigures(database)),
        _deferred(lambda: SqlContentRepository(database)),
        _deferred(lambda: SqlAuditLog(database, watch)),
        None if isinstance(blobs, LocalBlobs) else blobs,
        blobs if isinstance(blobs, LocalBlobs) else None,
    )


class _Deferred:
    """Stands for an object until its first use: a start would wait 0.2 s for the statements of all repositories."""

    def __init__(self, build: Callable[[], object]) -> None:
        self._build = functools.cache(build)

    def __getattr__(self, name: str) -> object:
        found = getattr(self._build(), name)
        self.__dict__[name] = found  # from now on without this detour
        return found


def _deferred(build: Callable[[], T]) -> T:
    return cast("T", _Deferred(build))


def new_id(prefix: str) -> str:
    """A fresh id: the prefix and 22 characters with 131 random bits, in the form the hosted service uses."""
    number = random_bits(160)
    characters = []
    for _ in range(22):
        number, index = divmod(number, len(ID_ALPHABET))
        characters.append(ID_ALPHABET[index])
    return prefix + "".join(characters)
