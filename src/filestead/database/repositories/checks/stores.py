"""Checks of vector stores: attached files, their chunks and vectors, and the index."""

from sqlalchemy import ColumnElement, Text, and_, cast, exists, or_, select

from filestead.database.engines.statements import Connection
from filestead.database.repositories.checks.check import REPAIR, Check
from filestead.database.tables import (
    PART_BITS,
    detached_files,
    files,
    index_documents,
    index_postings,
    index_segments,
    jobs,
    vector_blocks,
    vector_store_chunks,
    vector_store_files,
    vector_stores,
    vector_values,
)
from filestead.domain.integrity import Repair, Violation
from filestead.domain.vector_stores.embeddings import ROWS_PER_BLOCK

ORPHANED_VECTORS = "vectors of a file that is not attached to a vector store were not swept"


def is_orphaned(attachment: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether this is the number of no attachment, and no sweep is going to delete what it has."""
    return and_(
        ~exists().where(vector_store_files.c.seq == attachment),
        ~exists().where(detached_files.c.attachment == attachment),
    )


def store_checks() -> list[Check]:
    """Of the tables that both databases have."""
    attached, chunks, segments = vector_store_files.c, vector_store_chunks.c, index_segments.c
    has_job = exists().where(jobs.c.kind == "index", jobs.c.subject == cast(attached.seq, Text))
    wholes = select((chunks.id // (1 << PART_BITS)).label("attachment")).distinct().subquery()
    found = [
        Check(
            "I-22",
            "A",
            "the attached file is in progress, but there is no job that indexes it",
            "detach the file and attach it again, and report this",
            select(attached.vector_store_id + "/" + attached.file_id).where(attached.status == "in_progress", ~has_job),
        ),
        Check(
            "I-26",
            "A",
            "the attached file and the vector store are not of one project",
            "detach the file, and report this",
            select(attached.vector_store_id + "/" + attached.file_id)
            .join(files, files.c.id == attached.file_id)
            .join(vector_stores, vector_stores.c.id == attached.vector_store_id)
            .where(or_(files.c.project_id != attached.project_id, vector_stores.c.project_id != attached.project_id)),
        ),
        Check(
            "I-23",
            "B",
            "chunks of a file that is not attached to a vector store were not swept",
            REPAIR,
            select(wholes.c.attachment).where(is_orphaned(wholes.c.attachment)),
            Repair.DELETE,
        ),
    ]
    values = vector_values.c.id // ROWS_PER_BLOCK
    found += [
        Check(
            "I-25",
            "B",
            ORPHANED_VECTORS,
            REPAIR,
            select(vector_blocks.c.attachment).where(is_orphaned(vector_blocks.c.attachment)).distinct(),
            Repair.DELETE,
        ),
        Check(
            "I-25",
            "B",
            "exact vectors of a block that does not exist were not deleted",
            REPAIR,
            select(values).where(~exists().where(vector_blocks.c.seq == values)).distinct(),
            Repair.DELETE,
        ),
    ]
    for parts in (index_postings, index_documents):
        whole = select((parts.c.id // (1 << PART_BITS)).label("segment")).distinct().subquery()
        found.append(
            Check(
                "I-24",
                "B",
                "parts of an index segment that does not exist were not swept",
                REPAIR,
                select(whole.c.segment).where(~exists().where(segments.id == whole.c.segment)),
                Repair.DELETE,
            )
        )
    return found


def orphaned_pgvectors(connection: Connection) -> list[Violation]:
    """Findings about vectors in the tables of pgvector, which there are for each model."""
    orphans = orphaned_attachments(connection)
    return [Violation("I-25", "B", str(one), ORPHANED_VECTORS, REPAIR, Repair.DELETE) for one in orphans]


def orphaned_attachments(connection: Connection) -> list[int]:
    """Attachments that do not exist, and whose vectors no sweep is going to delete; of PostgreSQL."""
    models = connection.execute(
        "SELECT id FROM embedding_models WHERE to_regclass('chunk_vectors_' || id) IS NOT NULL", {}
    ).fetchall()
    found: set[int] = set()
    for (model,) in models:
        rows = connection.execute(
            f"SELECT attachment FROM (SELECT DISTINCT id >> {PART_BITS} AS attachment FROM chunk_vectors_{model}) AS v "  # noqa: S608
            "WHERE NOT EXISTS (SELECT FROM vector_store_files WHERE seq = attachment) "
            "AND NOT EXISTS (SELECT FROM detached_files AS d WHERE d.attachment = v.attachment)",
            {},
        ).fetchall()
        found |= {row[0] for row in rows}
    return sorted(found)
