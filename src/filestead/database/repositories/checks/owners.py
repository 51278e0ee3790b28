"""Checks across all tables: what belongs together is of one project, and ids have their form."""

from functools import reduce
from typing import Any

from sqlalchemy import Column, Select, Table, Text, and_, cast, func, literal, or_, select, union_all

from filestead.database.repositories.checks.check import REPORT, Check
from filestead.database.tables import (
    audit_events,
    batches,
    blob_parts,
    blobs,
    file_batches,
    file_tombstones,
    files,
    jobs,
    keys,
    organizations,
    projects,
    upload_parts,
    uploads,
    users,
    vector_store_files,
    vector_stores,
    webhook_events,
)
from filestead.domain.jobs import JobKind

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
LONGEST_ID = 64
PREFIXES = {
    files: "file-",
    uploads: "upload_",
    upload_parts: "part_",
    batches: "batch_",
    vector_stores: "vs_",
    file_batches: "vsfb_",
    webhook_events: "evt_",
    organizations: "org-",
    projects: "proj_",
    users: "user-",
    keys: "key_",
}


def owner_checks() -> list[Check]:
    """That rows which refer to each other are of one project, or of one organization."""
    return [
        Check("I-14", "A", f"{sentence} are not of one {owner}", REPORT, statement)
        for sentence, owner, statement in (*_projects_of_pairs(), *_organizations())
    ]


def _differing(subject: Column[Any], other: Table, joined: Any) -> Select[Any]:
    """Rows of the table of `subject` whose project is not that of the joined row of another table."""
    table = subject.table
    return select(subject).join_from(table, other, joined).where(table.c.project_id != other.c.project_id)


def _projects_of_pairs() -> list[tuple[str, str, Select[Any]]]:
    whole = blobs.alias("whole")
    earlier = batches.alias("earlier")
    of_results = or_(files.c.id == batches.c.output_file_id, files.c.id == batches.c.error_file_id)
    pairs = [
        ("the file and its blob", _differing(files.c.id, blobs, blobs.c.key == files.c.blob_key)),
        ("the upload and its file", _differing(uploads.c.id, files, files.c.id == uploads.c.file_id)),
        (
            "the part of an upload and its blob",
            select(upload_parts.c.id)
            .join(uploads, uploads.c.id == upload_parts.c.upload_id)
            .join(blobs, blobs.c.key == upload_parts.c.blob_key)
            .where(uploads.c.project_id != blobs.c.project_id),
        ),
        (
            "the part and the blob that it is a part of",
            select(blob_parts.c.part_key)
            .join(blobs, blobs.c.key == blob_parts.c.part_key)
            .join(whole, whole.c.key == blob_parts.c.blob_key)
            .where(blobs.c.project_id != whole.c.project_id),
        ),
        ("the batch and its input", _differing(batches.c.id, blobs, blobs.c.key == batches.c.input_blob_key)),
        ("the batch and its results", _differing(batches.c.id, files, of_results)),
        (
            "the batch and the one that it repeats",
            select(batches.c.id)
            .join(earlier, earlier.c.id == batches.c.retry_of)
            .where(earlier.c.project_id != batches.c.project_id),
        ),
        (
            "the event for the webhook and its batch",
            _differing(webhook_events.c.id, batches, batches.c.id == webhook_events.c.subject),
        ),
    ]
    subjects: tuple[tuple[JobKind, Table, Any], ...] = (
        (JobKind.BATCH, batches, batches.c.id),
        (JobKind.WEBHOOK, webhook_events, webhook_events.c.id),
        (JobKind.INDEX, vector_store_files, cast(vector_store_files.c.seq, Text)),
        (JobKind.MERGE, vector_stores, vector_stores.c.id),
        (JobKind.EMBED, vector_stores, vector_stores.c.id),
    )
    for kind, table, subject in subjects:
        joined = and_(jobs.c.kind == kind.value, jobs.c.subject == subject)
        pairs.append((f"the job ({kind.value}) and what it is about", _differing(jobs.c.subject, table, joined)))
    return [(sentence, "project", statement) for sentence, statement in pairs]


def _organizations() -> list[tuple[str, str, Select[Any]]]:
    owner = projects.c.organization_id
    statements = (
        (
            "the user and the project of the key",
            select(keys.c.id)
            .join(projects, projects.c.id == keys.c.project_id)
            .join(users, users.c.id == keys.c.user_id)
            .where(users.c.organization_id != owner),
        ),
        (
            "the batch and its project",
            select(batches.c.id)
            .join(projects, projects.c.id == batches.c.project_id)
            .where(batches.c.organization_id != owner),
        ),
        (
            "the user and the project of the batch",
            select(batches.c.id)
            .join(projects, projects.c.id == batches.c.project_id)
            .join(users, users.c.id == batches.c.user_id)
            .where(users.c.organization_id != owner),
        ),
        (
            "the audit event and its project",
            select(cast(audit_events.c.id, Text))
            .join(projects, projects.c.id == audit_events.c.project_id)
            .where(audit_events.c.organization_id != owner),
        ),
    )
    return [(sentence, "organization", statement) for sentence, statement in statements]


def id_checks() -> list[Check]:
    """That ids and keys have their form, and that none is used again."""
    wrong = [
        select(table.c.id.label("id")).where(~_has_form(table.c.id, prefix, 1, LONGEST_ID))
        for table, prefix in PREFIXES.items()
    ]
    return [
        Check("I-15", "A", "the id has not the form of an id", REPORT, union_all(*wrong)),
        Check(
            "I-15",
            "A",
            "the key of the blob has not the form of a key",
            f"{REPORT}: it could become a path",
            select(blobs.c.key).where(~_has_form(blobs.c.key, "", 32, 32, "0123456789abcdefghijklmnopqrstuvwxyz")),
        ),
        Check(
            "I-15",
            "A",
            "what is stored of the API key is not a SHA-256",
            f"revoke the key, and {REPORT}",
            select(keys.c.id).where(~_has_form(keys.c.digest, "", 64, 64, "0123456789abcdef")),
        ),
        Check(
            "I-15",
            "A",
            "the file is there although a file with its id was deleted or has expired",
            REPORT,
            select(files.c.id).join(file_tombstones, file_tombstones.c.file_id == files.c.id),
        ),
    ]


def _has_form(column: Any, prefix: str, shortest: int, longest: int, letters: str = LETTERS) -> Any:
    """Whether a text is the prefix and so many of the letters."""
    rest = func.substr(column, len(prefix) + 1)
    conditions = [func.length(rest).between(shortest, longest), func.ltrim(rest, literal(letters)) == literal("")]
    if prefix:
        conditions.append(func.substr(column, 1, len(prefix)) == literal(prefix))
    return reduce(and_, conditions)
