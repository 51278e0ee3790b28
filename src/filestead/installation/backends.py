"""The open backends of an installation, and fresh ids."""

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    routed = RoutedBlobs(blobs, SqlInlineBlobs(database))
    return Backends(
        SqlFileRepository(database, watch, free_space),
        SqlKeyRepository(database, new_id),
        SqlProjectRepository(database),
        SqlJobRepository(database),
        SqlUploadRepository(database, watch),
        SqlVectorStoreRepository(database),
        SqlIndexRepository(database, watch),
        SqlVectorRepository(database),
        SqlVectorBlocks(database),
        None if is_sqlite else PgvectorSearch(database),
        SqlBatchRepository(database),
        SqlBatchRunRepository(
            database,
            new_id,
            watch=watch,
            webhook=settings.webhook_url is not None,
            require_free_space=free_space,
        ),
        SqlWebhookEventRepository(database),
        HealthCheckedBlobs(ObservedBlobs(routed, observer), observer),
        TableCopier(database),
        VectorCopier(database),
        close,
        SqlFigures(database),
        SqlContentRepository(database),
        SqlAuditLog(database),
        None if isinstance(blobs, LocalBlobs) else blobs,
        blobs if isinstance(blobs, LocalBlobs) else None,
    )


def new_id(prefix: str) -> str:
    """A fresh id: the prefix and 22 characters with 131 random bits, in the form the hosted service uses."""
    number = random_bits(160)
    characters = []
    for _ in range(22):
        number, index = divmod(number, len(ID_ALPHABET))
        characters.append(ID_ALPHABET[index])
    return prefix + "".join(characters)
