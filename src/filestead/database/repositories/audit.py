"""The checks that `verify` runs on the rows. Invariant numbers as in docs/operate.md."""

from collections.abc import Callable

from sqlalchemy import Dialect, Executable, Text, and_, case, cast, exists, func, or_, select
from sqlalchemy import text as literal_sql

from filestead.database.engines.statements import Connection, Statement
from filestead.database.repositories.batch_audit import batch_checks, find_journal_violations
from filestead.database.repositories.clock import proven_us
from filestead.database.repositories.pins import is_pinned
from filestead.database.repositories.usage import journal_bytes, used_bytes
from filestead.database.tables import (
    LIVE,
    PART_BITS,
    audit_chain,
    audit_events,
    blob_parts,
    blobs,
    detached_files,
    files,
    index_documents,
    index_postings,
    index_segments,
    jobs,
    projects,
    upload_parts,
    uploads,
    vector_blocks,
    vector_store_chunks,
    vector_store_files,
    vector_stores,
    vector_values,
)
from filestead.domain.audit.events import EventType
from filestead.domain.integrity import Violation
from filestead.domain.vector_stores.embeddings import ROWS_PER_BLOCK

EXPIRY_GRACE_SECONDS = 900
ORPHANED_VECTORS = "vectors of a file that is not attached to a vector store were not swept"
LEASE_GRACE_US = 300_000_000

# Checks of the database file, with the result for an intact one. A server checks its files and references itself.
SELF_CHECKS = {"sqlite": (("PRAGMA integrity_check", "ok"), ("PRAGMA foreign_key_check", None))}


def find_violations(dialect: Dialect) -> Callable[[Connection], list[Violation]]:
    """An operation that returns the violated invariants."""

    def operation(connection: Connection) -> list[Violation]:
        found: list[Violation] = []
        for invariant, severity, sentence, remedy, statement in _checks():
            rows = Statement(statement, dialect)(connection).fetchall()
            found += [Violation(invariant, severity, str(row[0]), sentence, remedy) for row in rows]
        found += find_journal_violations(connection, dialect)
        if dialect.name == "postgresql":
            found += _orphaned_vectors(connection)
        for sql, expected in SELF_CHECKS.get(dialect.name, ()):
            rows = Statement(literal_sql(sql), dialect)(connection).fetchall()
            found += [
                Violation("I-18", "A", "database", f"{sql}: {row[0]}", "restore the last backup")
                for row in rows
                if row[0] != expected
            ]
        return found

    return operation


def _orphaned_vectors(connection: Connection) -> list[Violation]:
    """Vectors in the tables of pgvector, which there are for each model."""
    models = connection.execute(
        "SELECT id FROM embedding_models WHERE to_regclass('chunk_vectors_' || id) IS NOT NULL", {}
    ).fetchall()
    found: list[Violation] = []
    for (model,) in models:
        rows = connection.execute(
            f"SELECT attachment FROM (SELECT DISTINCT id >> {PART_BITS} AS attachment FROM chunk_vectors_{model}) AS v "  # noqa: S608
            "WHERE NOT EXISTS (SELECT FROM vector_store_files WHERE seq = attachment) "
            "AND NOT EXISTS (SELECT FROM detached_files AS d WHERE d.attachment = v.attachment)",
            {},
        ).fetchall()
        found += [Violation("I-25", "B", str(row[0]), ORPHANED_VECTORS, "report this") for row in rows]
    return found


def _checks() -> list[tuple[str, str, str, str, Executable]]:
    """(invariant, class, meaning of a row of the statement, remedy, statement)."""
    used = used_bytes()
    of_blobs = select(func.sum(blobs.c.bytes_reserved)).where(
        blobs.c.project_id == projects.c.id, blobs.c.state != LIVE
    )
    of_uploads = select(func.sum(uploads.c.bytes)).where(
        uploads.c.project_id == projects.c.id, uploads.c.status == "pending"
    )
    reserved = (
        func.coalesce(of_blobs.scalar_subquery(), 0) + func.coalesce(of_uploads.scalar_subquery(), 0) + journal_bytes()
    )
    has_file = or_(
        exists().where(files.c.blob_key == blobs.c.key),
        exists().where(upload_parts.c.blob_key == blobs.c.key),
        exists()
        .where(blob_parts.c.part_key == blobs.c.key)
        .where(blob_parts.c.blob_key == files.c.blob_key)
        .correlate(blobs),
    )
    return [
        (
            "I-12",
            "A",
            "the project's ledger differs from the sum of its files, their indexes and reservations",
            "report this: the quota is no longer exact",
            select(projects.c.id).where(or_(projects.c.bytes_used != used, projects.c.bytes_reserved != reserved)),
        ),
        (
            "I-21",
            "A",
            "the blob is live in the ledger but no file or part has it, or the other way round",
            "report this: a sweep could take a visible file's bytes",
            select(blobs.c.key).where(
                or_(and_(blobs.c.state == LIVE, ~has_file), and_(blobs.c.state != LIVE, has_file))
            ),
        ),
        (
            "I-10",
            "B",
            f"the file expired more than {EXPIRY_GRACE_SECONDS} seconds ago and was not swept",
            "run `filestead sweep`",
            select(files.c.id).where(files.c.expires_at < proven_us() // 1_000_000 - EXPIRY_GRACE_SECONDS),
        ),
        (
            "I-05",
            "B",
            "the blob's lease ran out more than 5 minutes ago and no sweep has taken it",
            "run `filestead sweep`",
            select(blobs.c.key).where(blobs.c.lease_until_us < proven_us() - LEASE_GRACE_US, ~is_pinned()),
        ),
        *_upload_checks(),
        *_vector_store_checks(),
        *batch_checks(),
        *_event_checks(),
    ]


def _event_checks() -> list[tuple[str, str, str, str, Executable]]:
    """Each file has one event of its creation, and one of its end if it has ended."""
    remedy = "report this: a change has no event in the audit log, or two"
    event, kinds = audit_events.c, EventType
    has_event = and_(event.resource_id == files.c.id, event.type == kinds.FILE_CREATED.value)
    created = func.count(case((event.type == kinds.FILE_CREATED.value, 1)))
    ended = func.count(case((event.type != kinds.FILE_CREATED.value, 1)))
    counts = (
        select(event.resource_id, created.label("created"), ended.label("ended"))
        .where(
            or_(*(event.type == kind.value for kind in (kinds.FILE_CREATED, kinds.FILE_DELETED, kinds.FILE_EXPIRED)))
        )
        .group_by(event.resource_id)
        .subquery("counts")
    )
    exists_still = case((files.c.id.is_not(None), 1), else_=0)
    return [
        (
            "I-16",
            "A",
            "the file has no event of its creation in the audit log",
            remedy,
            select(files.c.id)
            .select_from(files.outerjoin(audit_events, has_event))
            .where(files.c.created_at > select(audit_chain.c.complete_since).scalar_subquery(), event.id.is_(None)),
        ),
        (
            "I-16",
            "A",
            "the events of the file in the audit log are not one of its creation, and one of its end if it has ended",
            remedy,
            select(counts.c.resource_id)
            .select_from(counts.outerjoin(files, files.c.id == counts.c.resource_id))
            .where(or_(counts.c.created > 1, counts.c.ended + exists_still != 1)),
        ),
    ]


def _upload_checks() -> list[tuple[str, str, str, str, Executable]]:
    of_file = blob_parts.c.blob_key == files.c.blob_key
    count = select(func.count()).select_from(blob_parts).where(of_file).scalar_subquery()
    size = func.coalesce(select(func.sum(blob_parts.c.bytes)).where(of_file).scalar_subquery(), 0)
    stored = (
        select(upload_parts.c.upload_id, upload_parts.c.blob_key, upload_parts.c.bytes).distinct().subquery("stored")
    )
    received = func.coalesce(
        select(func.sum(stored.c.bytes)).where(stored.c.upload_id == uploads.c.id).scalar_subquery(), 0
    )
    return [
        (
            "I-33",
            "A",
            "the parts of the file are not as many, or have not as many bytes, as its row says",
            "restore the last backup, or delete the file, and report this",
            select(files.c.id).where(files.c.parts.is_not(None), or_(files.c.parts != count, files.c.bytes != size)),
        ),
        (
            "I-34",
            "A",
            "the upload has not received as many bytes as its parts have, or has parts although it has ended",
            "cancel the upload, and report this",
            select(uploads.c.id).where(
                or_(
                    and_(uploads.c.status == "pending", uploads.c.bytes_received != received),
                    and_(uploads.c.status != "pending", received != 0),
                )
            ),
        ),
        (
            "I-35",
            "B",
            f"the upload expired more than {EXPIRY_GRACE_SECONDS} seconds ago and was not swept",
            "run `filestead sweep`",
            select(uploads.c.id).where(
                uploads.c.status == "pending", uploads.c.expires_at < proven_us() // 1_000_000 - EXPIRY_GRACE_SECONDS
            ),
        ),
    ]


def _vector_store_checks() -> list[tuple[str, str, str, str, Executable]]:
    attached, chunks, segments = vector_store_files.c, vector_store_chunks.c, index_segments.c
    has_job = exists().where(jobs.c.kind == "index", jobs.c.subject == cast(attached.seq, Text))
    wholes = select((chunks.id // (1 << PART_BITS)).label("attachment")).distinct().subquery()
    orphaned = and_(
        ~exists().where(attached.seq == wholes.c.attachment),
        ~exists().where(detached_files.c.attachment == wholes.c.attachment),
    )
    found: list[tuple[str, str, str, str, Executable]] = [
        (
            "I-22",
            "A",
            "the attached file is in progress, but there is no job that indexes it",
            "detach the file and attach it again, and report this",
            select(attached.vector_store_id + "/" + attached.file_id).where(attached.status == "in_progress", ~has_job),
        ),
        (
            "I-26",
            "A",
            "the attached file and the vector store are not of one project",
            "detach the file, and report this",
            select(attached.vector_store_id + "/" + attached.file_id)
            .join(files, files.c.id == attached.file_id)
            .join(vector_stores, vector_stores.c.id == attached.vector_store_id)
            .where(or_(files.c.project_id != attached.project_id, vector_stores.c.project_id != attached.project_id)),
        ),
        (
            "I-23",
            "B",
            "chunks of a file that is not attached to a vector store were not swept",
            "report this",
            select(wholes.c.attachment).where(orphaned),
        ),
    ]
    known = exists().where(attached.seq == vector_blocks.c.attachment)
    swept_later = exists().where(detached_files.c.attachment == vector_blocks.c.attachment)
    values = vector_values.c.id // ROWS_PER_BLOCK
    found += [
        (
            "I-25",
            "B",
            ORPHANED_VECTORS,
            "report this",
            select(vector_blocks.c.attachment).where(~known, ~swept_later).distinct(),
        ),
        (
            "I-25",
            "B",
            "exact vectors of a block that does not exist were not deleted",
            "report this",
            select(values).where(~exists().where(vector_blocks.c.seq == values)).distinct(),
        ),
    ]
    for parts in (index_postings, index_documents):
        whole = select((parts.c.id // (1 << PART_BITS)).label("segment")).distinct().subquery()
        found.append(
            (
                "I-24",
                "B",
                "parts of an index segment that does not exist were not swept",
                "report this",
                select(whole.c.segment).where(~exists().where(segments.id == whole.c.segment)),
            )
        )
    return found
