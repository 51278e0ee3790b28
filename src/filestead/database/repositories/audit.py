"""The checks that `verify` runs on the rows. Invariant numbers as in docs/operate.md."""

from collections.abc import Callable

from sqlalchemy import Dialect, Executable, Text, and_, cast, exists, func, or_, select
from sqlalchemy import text as literal_sql

from filestead.database.engines.statements import Connection, Statement
from filestead.database.repositories.batch_audit import batch_checks, find_journal_violations
from filestead.database.repositories.clock import proven_us
from filestead.database.repositories.usage import journal_bytes, used_bytes
from filestead.database.tables import (
    LIVE,
    PART_BITS,
    batches,
    blobs,
    detached_files,
    files,
    index_documents,
    index_postings,
    index_segments,
    jobs,
    projects,
    vector_blocks,
    vector_store_chunks,
    vector_store_files,
    vector_stores,
    vector_values,
)
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
    of_uploads = func.coalesce(
        select(func.sum(blobs.c.bytes_reserved))
        .where(blobs.c.project_id == projects.c.id, blobs.c.state != LIVE)
        .scalar_subquery(),
        0,
    )
    reserved = of_uploads + journal_bytes()
    has_file = exists().where(files.c.blob_key == blobs.c.key)
    is_pinned = exists().where(batches.c.input_blob_key == blobs.c.key)
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
            "the blob is live in the ledger but no file has it, or the other way round",
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
            select(blobs.c.key).where(blobs.c.lease_until_us < proven_us() - LEASE_GRACE_US, ~is_pinned),
        ),
        *_vector_store_checks(),
        *batch_checks(),
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
