"""Checks of files, of their blobs, and of uploads in parts."""

from sqlalchemy import and_, exists, func, or_, select

from filestead.database.repositories.checks.check import REPAIR, REPORT, SWEEP, Check
from filestead.database.repositories.clock import proven_us
from filestead.database.repositories.pins import is_pinned
from filestead.database.repositories.usage import received_bytes, reserved_bytes, used_bytes
from filestead.database.tables import (
    LIVE,
    blob_parts,
    blobs,
    clock,
    file_tombstones,
    files,
    idempotency_keys,
    projects,
    upload_parts,
    uploads,
)
from filestead.domain.integrity import Repair
from filestead.domain.uploads.model import KEPT_SECONDS

EXPIRY_GRACE_SECONDS = 900
LEASE_GRACE_US = 300_000_000
RETENTION_GRACE_US = 86_400_000_000
"""How long after its end a record that nobody needs may wait for the sweeps, each of which takes a bounded number."""


def file_checks() -> list[Check]:
    """Of the ledger of blobs, of files and of records that are kept for a time."""
    has_file = or_(
        exists().where(files.c.blob_key == blobs.c.key),
        exists().where(upload_parts.c.blob_key == blobs.c.key),
        exists()
        .where(blob_parts.c.part_key == blobs.c.key)
        .where(blob_parts.c.blob_key == files.c.blob_key)
        .correlate(blobs),
    )
    return [
        Check(
            "I-12",
            "A",
            "the project's ledger differs from the sum of its files, their indexes and reservations",
            f"{REPAIR}: the quota is not exact",
            select(projects.c.id).where(
                or_(projects.c.bytes_used != used_bytes(), projects.c.bytes_reserved != reserved_bytes())
            ),
            Repair.RECOMPUTE,
        ),
        Check(
            "I-21",
            "A",
            "the blob is live in the ledger but no file or part has it, or the other way round",
            f"{REPORT}: a sweep could take a visible file's bytes",
            select(blobs.c.key).where(
                or_(and_(blobs.c.state == LIVE, ~has_file), and_(blobs.c.state != LIVE, has_file))
            ),
        ),
        Check(
            "I-10",
            "B",
            f"the file expired more than {EXPIRY_GRACE_SECONDS} seconds ago and was not swept",
            SWEEP,
            select(files.c.id).where(files.c.expires_at < proven_us() // 1_000_000 - EXPIRY_GRACE_SECONDS),
            Repair.SWEEP,
        ),
        Check(
            "I-05",
            "B",
            "the blob's lease ran out more than 5 minutes ago and no sweep has taken it",
            SWEEP,
            select(blobs.c.key).where(blobs.c.lease_until_us < proven_us() - LEASE_GRACE_US, ~is_pinned()),
            Repair.SWEEP,
        ),
        *_retention_checks(),
    ]


def _retention_checks() -> list[Check]:
    """Records that no sweep has taken, although one has looked a day after their end: they wait for the next start."""
    last_sweep_us = select(clock.c.proven_us).scalar_subquery() - RETENTION_GRACE_US
    sentence = "is past its time, and sweeps have left it"
    ended = uploads.c.status != "pending"
    return [
        Check(
            "I-08",
            "B",
            f"the position of a deleted file in the listing {sentence}",
            SWEEP,
            select(file_tombstones.c.file_id).where(file_tombstones.c.kept_until_us < last_sweep_us),
            Repair.SWEEP,
        ),
        Check(
            "I-08",
            "B",
            f"the record of an idempotency key {sentence}",
            SWEEP,
            select(idempotency_keys.c.file_id).where(idempotency_keys.c.bound_until_us < last_sweep_us),
            Repair.SWEEP,
        ),
        Check(
            "I-08",
            "B",
            f"the row of an upload that has ended {sentence}",
            SWEEP,
            select(uploads.c.id).where(ended, uploads.c.expires_at < last_sweep_us // 1_000_000 - KEPT_SECONDS),
            Repair.SWEEP,
        ),
    ]


def upload_checks() -> list[Check]:
    """Of uploads in parts, and of the files that they became."""
    of_file = blob_parts.c.blob_key == files.c.blob_key
    count = select(func.count()).select_from(blob_parts).where(of_file).scalar_subquery()
    size = func.coalesce(select(func.sum(blob_parts.c.bytes)).where(of_file).scalar_subquery(), 0)
    pending, received = uploads.c.status == "pending", received_bytes()
    return [
        Check(
            "I-33",
            "A",
            "the parts of the file are not as many, or have not as many bytes, as its row says",
            "restore the last backup, or delete the file, and report this",
            select(files.c.id).where(files.c.parts.is_not(None), or_(files.c.parts != count, files.c.bytes != size)),
        ),
        Check(
            "I-34",
            "A",
            "the upload has not received as many bytes as its parts have",
            f"{REPAIR}: it may refuse parts that fit",
            select(uploads.c.id).where(pending, uploads.c.bytes_received != received, received <= uploads.c.bytes),
            Repair.RECOMPUTE,
        ),
        Check(
            "I-34",
            "A",
            "the parts of the upload have more bytes than it may have, or it has parts although it has ended",
            "cancel the upload, and report this",
            select(uploads.c.id).where(or_(and_(pending, received > uploads.c.bytes), and_(~pending, received != 0))),
        ),
        Check(
            "I-35",
            "B",
            f"the upload expired more than {EXPIRY_GRACE_SECONDS} seconds ago and was not swept",
            SWEEP,
            select(uploads.c.id).where(pending, uploads.c.expires_at < proven_us() // 1_000_000 - EXPIRY_GRACE_SECONDS),
            Repair.SWEEP,
        ),
        Check(
            "I-11",
            "A",
            "the upload is completed without a file, has one of other bytes, or has one although it is not completed",
            REPORT,
            select(uploads.c.id)
            .select_from(uploads.outerjoin(files, files.c.id == uploads.c.file_id))
            .where(
                or_(
                    and_(uploads.c.status == "completed", uploads.c.file_id.is_(None)),
                    and_(uploads.c.status != "completed", uploads.c.file_id.is_not(None)),
                    files.c.bytes != uploads.c.bytes,
                )
            ),
        ),
    ]
