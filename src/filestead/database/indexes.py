"""The indexes of the tables, for migrations and for the test that compares them with the tables.

A server does not load them: no statement names one, and their conditions load the dialects of both databases.
"""

import sqlalchemy as sa

from filestead.database.tables import (
    audit_events,
    batches,
    blobs,
    file_tombstones,
    files,
    idempotency_keys,
    index_segments,
    jobs,
    metadata,
    upload_parts,
    uploads,
    vector_store_files,
    vector_stores,
)

__all__ = ["metadata"]

leased = blobs.c.lease_until_us.is_not(None)
expiring = files.c.expires_at.is_not(None)
sa.Index("blobs_by_lease", blobs.c.lease_until_us, sqlite_where=leased, postgresql_where=leased)
sa.Index("files_by_time", files.c.project_id, files.c.created_at, files.c.seq)
sa.Index("files_by_purpose", files.c.project_id, files.c.purpose, files.c.created_at, files.c.seq)
sa.Index("files_by_expiry", files.c.expires_at, sqlite_where=expiring, postgresql_where=expiring)
unfinished = uploads.c.status == "pending"
sa.Index("uploads_pending", uploads.c.expires_at, sqlite_where=unfinished, postgresql_where=unfinished)
sa.Index("uploads_by_end", uploads.c.expires_at)
sa.Index("upload_parts_by_upload", upload_parts.c.upload_id, upload_parts.c.seq)
keyed = upload_parts.c.idempotency_key.is_not(None)
sa.Index(
    "upload_parts_by_key",
    upload_parts.c.upload_id,
    upload_parts.c.idempotency_key,
    unique=True,
    sqlite_where=keyed,
    postgresql_where=keyed,
)
sa.Index("idempotency_keys_by_end", idempotency_keys.c.bound_until_us)
sa.Index("file_tombstones_by_end", file_tombstones.c.kept_until_us)
in_batch = vector_store_files.c.file_batch_id.is_not(None)
claimed, dead = jobs.c.token.is_not(None), jobs.c.died_us.is_not(None)
sa.Index("jobs_by_turn", jobs.c.project_id, jobs.c.due_us, jobs.c.id)
sa.Index("jobs_by_token", jobs.c.token, sqlite_where=claimed, postgresql_where=claimed)
sa.Index("jobs_dead", jobs.c.died_us, jobs.c.id, sqlite_where=dead, postgresql_where=dead)
ending = vector_stores.c.expires_at.is_not(None)
sa.Index("vector_stores_by_expiry", vector_stores.c.expires_at, sqlite_where=ending, postgresql_where=ending)
sa.Index("vector_stores_by_project", vector_stores.c.project_id, vector_stores.c.seq)
sa.Index("vector_store_files_by_store", vector_store_files.c.vector_store_id, vector_store_files.c.seq)
# Covers the counts and the usage of a store.
sa.Index(
    "vector_store_files_by_status",
    vector_store_files.c.vector_store_id,
    vector_store_files.c.status,
    vector_store_files.c.seq,
    vector_store_files.c.expires_at,
    vector_store_files.c.usage_bytes,
)
sa.Index(
    "vector_store_files_by_batch",
    vector_store_files.c.file_batch_id,
    vector_store_files.c.seq,
    sqlite_where=in_batch,
    postgresql_where=in_batch,
)
sa.Index("batches_by_time", batches.c.project_id, batches.c.created_at, batches.c.seq)
pinning = batches.c.input_blob_key.is_not(None)
sa.Index("batches_by_pin", batches.c.input_blob_key, sqlite_where=pinning, postgresql_where=pinning)
to_sweep = batches.c.to_sweep == 1
sa.Index("batches_to_sweep", batches.c.seq, sqlite_where=to_sweep, postgresql_where=to_sweep)
reserving = batches.c.bytes_reserved > 0
sa.Index("batches_reserving", batches.c.project_id, sqlite_where=reserving, postgresql_where=reserving)
paused = batches.c.pauses.is_not(None)
sa.Index("batches_paused", batches.c.seq, sqlite_where=paused, postgresql_where=paused)
not_ready = index_segments.c.state != "ready"
sa.Index("index_segments_not_ready", index_segments.c.id, sqlite_where=not_ready, postgresql_where=not_ready)
unsealed, sealed = audit_events.c.sequence.is_(None), audit_events.c.sequence.is_not(None)
sa.Index("audit_events_unsealed", audit_events.c.id, sqlite_where=unsealed, postgresql_where=unsealed)
sa.Index("audit_events_by_sequence", audit_events.c.sequence, unique=True, sqlite_where=sealed, postgresql_where=sealed)
sa.Index(
    "audit_events_by_organization",
    audit_events.c.organization_id,
    audit_events.c.sequence,
    sqlite_where=sealed,
    postgresql_where=sealed,
)
