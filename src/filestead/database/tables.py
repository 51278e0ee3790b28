"""The tables in SQLAlchemy Core; `indexes.py` has their indexes. Every change needs a migration; a test compares both.

Amounts are bytes, times Unix seconds, unless a column ends in `_us` (microseconds).
"""

import sqlalchemy as sa

from filestead.domain.blobs import BlobState

PENDING, LIVE, DELETED = (state.value for state in BlobState)

metadata = sa.MetaData()

# SQLite gives a hidden monotonic sequence only to an INTEGER primary key.
Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# Ordered by code points, whatever the locale: an update of a system library must not change the order.
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

installation = sa.Table(
    "installation",
    metadata,
    sa.Column(
        "id", Text, primary_key=True, comment="also written into the blob store, to know that the two belong together"
    ),
)

organizations = sa.Table(
    "organizations",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column(
        "attach_arrival_us", sa.BigInteger, nullable=False, server_default="0", comment="GCRA state of attached files"
    ),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("organization_id", Text, sa.ForeignKey("organizations.id"), nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("bytes_used", sa.BigInteger, nullable=False, server_default="0", comment="of files"),
    sa.Column(
        "bytes_reserved",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="of pending blobs, pending uploads and journals",
    ),
    sa.Column(
        "batch_arrival_us", sa.BigInteger, nullable=False, server_default="0", comment="GCRA state of created batches"
    ),
    sa.UniqueConstraint("organization_id", "name"),
    sa.CheckConstraint("bytes_used >= 0 AND bytes_reserved >= 0", name="ledger_not_negative"),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("organization_id", Text, sa.ForeignKey("organizations.id"), nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column(
        "upload_arrival_us", sa.BigInteger, nullable=False, server_default="0", comment="GCRA state of the upload rate"
    ),
    sa.UniqueConstraint("organization_id", "name"),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("digest", Text, nullable=False, unique=True, comment="SHA-256 of the key, hexadecimal"),
    sa.Column("hint", Text, nullable=False),
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("user_id", Text, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("scopes", Text, nullable=False, comment="separated by blanks"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
)

# The ledger of blobs: a row exists before the first byte of its blob is written, until the last byte is deleted.
blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("key", Text, primary_key=True),
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column(
        "state", Text, nullable=False, comment="pending (being uploaded), live (of a file) or doomed (to be removed)"
    ),
    sa.Column("lease_until_us", sa.BigInteger, comment="when a sweep may take it; null for a live one"),
    sa.Column("bytes_reserved", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("state IN ('pending', 'live', 'doomed')", name="state_known"),
    sa.CheckConstraint("(state = 'live') = (lease_until_us IS NULL)", name="lease_unless_live"),
)

# The bytes of inline blobs (see `domain/blobs.py`). A row goes with that of its blob.
inline_blobs = sa.Table(
    "inline_blobs",
    metadata,
    sa.Column("key", Text, sa.ForeignKey("blobs.key", ondelete="CASCADE"), primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# Visible files only, and expired files until the next sweep.
files = sa.Table(
    "files",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True, comment="order of publication, never shown"),
    sa.Column("id", Text, nullable=False, unique=True),
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("filename", Text, nullable=False),
    sa.Column("purpose", Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("status", Text, nullable=False),
    sa.Column("status_details", Text),
    sa.Column("sha256", Text, nullable=False),
    sa.Column("blob_key", Text, sa.ForeignKey("blobs.key"), nullable=False, unique=True),
    sa.Column("parts", sa.Integer, comment="rows of `blob_parts` that hold its bytes; null if its own blob does"),
    sqlite_autoincrement=True,
)

# The bytes of a file that was uploaded in parts: its own blob has none, but these, in order. A row goes with its blobs.
blob_parts = sa.Table(
    "blob_parts",
    metadata,
    sa.Column("blob_key", Text, sa.ForeignKey("blobs.key", ondelete="CASCADE"), primary_key=True, comment="of a file"),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("part_key", Text, sa.ForeignKey("blobs.key", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Uploads in parts. A row stays for a day after its hour, so that a repeated request finds it.
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("filename", Text, nullable=False),
    sa.Column("purpose", Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False, comment="as declared; reserved while it is pending"),
    sa.Column("bytes_received", sa.BigInteger, nullable=False, server_default="0", comment="of stored parts"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("file_lifetime", sa.BigInteger, comment="seconds; null if the file never expires"),
    sa.Column("file_id", Text, comment="of a completed one"),
    sa.Column("completed_with", Text, comment="digest of the list of parts"),
    sa.CheckConstraint("status IN ('pending', 'completed', 'cancelled', 'expired')", name="status_known"),
    sa.CheckConstraint("bytes_received <= bytes", name="parts_fit"),
)

# Stored parts of pending uploads. Two of them may share a blob, see `domain/uploads/`.
upload_parts = sa.Table(
    "upload_parts",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True, comment="order of arrival"),
    sa.Column("id", Text, nullable=False, unique=True),
    sa.Column("upload_id", Text, sa.ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False),
    sa.Column("blob_key", Text, sa.ForeignKey("blobs.key"), nullable=False, index=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("idempotency_key", Text, comment="as the client sent it"),
    sa.Column("first_copy_due", sa.Integer, nullable=False, server_default="0", comment="see `repetition`"),
    sqlite_autoincrement=True,
)

# A row outlives its file, so that a late retry of the upload does not create the file again.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("key", Text, primary_key=True, comment="as the client sent it"),
    sa.Column("fingerprint", Text, nullable=False, comment="of the form that made the file"),
    sa.Column("file_id", Text, nullable=False),  # or the id of a batch or a vector store
    sa.Column("bound_until_us", sa.BigInteger, nullable=False),
)

# Positions of deleted files, so that a client can continue paging after one. Nothing else of the file is kept.
file_tombstones = sa.Table(
    "file_tombstones",
    metadata,
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("file_id", Text, primary_key=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("kept_until_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One row: the last sweep's observation of the database's clock (see `domain.clock`).
clock = sa.Table(
    "clock",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    sa.Column("seen_us", sa.BigInteger, comment="what it said; null before the first sweep"),
    sa.Column("proven_us", sa.BigInteger, comment="what it would have said if it had not jumped"),
    sa.Column("jumped_us", sa.BigInteger, comment="the proven time of the jump; null while the clock is believed"),
)

# Work that outlives a request, see `domain.jobs`. A row is removed in the transaction of its effect.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Sequence, primary_key=True, autoincrement=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("subject", Text, nullable=False),
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_us", sa.BigInteger, comment="when it may be claimed; null for a dead letter"),
    sa.Column("token", Text, comment="of the claim; null while it waits"),
    sa.Column("error", Text, comment="of the last attempt"),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("died_us", sa.BigInteger),
    sa.UniqueConstraint("kind", "subject"),
    sa.CheckConstraint("(due_us IS NULL) = (died_us IS NOT NULL)", name="dead_or_due"),
    sqlite_autoincrement=True,
)

# When each project was last served by a worker, so that projects take turns.
job_turns = sa.Table(
    "job_turns",
    metadata,
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("served_us", sa.BigInteger, nullable=False),
)

vector_stores = sa.Table(
    "vector_stores",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True, comment="order of creation, never shown"),
    sa.Column("id", Text, nullable=False, unique=True),
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("name", Text),
    sa.Column("description", Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("last_active_at", sa.BigInteger, nullable=False),
    sa.Column("expires_after_days", sa.Integer),
    sa.Column("expires_at", sa.BigInteger, comment="by the last activity"),
    sa.Column("metadata", Text, nullable=False, server_default="{}", comment="JSON"),
    sa.Column("embedding_model", sa.BigInteger, comment="with which it is searched; null without vectors"),
    sqlite_autoincrement=True,
)

file_batches = sa.Table(
    "file_batches",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column(
        "vector_store_id", Text, sa.ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("cancelled", sa.Integer, nullable=False, server_default="0", comment="0 or 1"),
)

# Files attached to vector stores. A row disappears with its file or its store.
vector_store_files = sa.Table(
    "vector_store_files",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True, comment="the number of the attachment"),
    sa.Column("vector_store_id", Text, sa.ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False),
    sa.Column("file_id", Text, sa.ForeignKey("files.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("project_id", Text, nullable=False, comment="of the file and of the store"),
    sa.Column("file_batch_id", Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, comment="of the file"),
    sa.Column("status", Text, nullable=False),
    sa.Column("error_code", Text),
    sa.Column("error_message", Text),
    sa.Column("usage_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("chunk_tokens", sa.Integer, nullable=False),
    sa.Column("chunk_overlap_tokens", sa.Integer, nullable=False),
    sa.Column("attributes", Text, nullable=False, server_default="{}", comment="JSON"),
    sa.Column("embedded_model", sa.BigInteger, comment="with which its vectors were made last, completely"),
    sa.UniqueConstraint("vector_store_id", "file_id"),
    sqlite_autoincrement=True,
)

# Attachments whose chunks the sweep deletes: cancelled ones, and those whose rows are gone.
# A trigger records the latter, and deletes their jobs.
detached_files = sa.Table(
    "detached_files",
    metadata,
    sa.Column("attachment", Sequence, primary_key=True, autoincrement=False),
    sa.Column("project_id", Text, comment="of the quota that has the usage"),
    sa.Column("usage_bytes", sa.BigInteger, nullable=False, server_default="0", comment="released by the sweep"),
)

# What follows belongs to an attachment or a segment by its number, without a foreign key: deleting a file stays quick,
# and the sweep deletes what is left. That number is in the upper bits of `id`, above `PART_BITS`.
PART_BITS = 20

vector_store_chunks = sa.Table(
    "vector_store_chunks",
    metadata,
    sa.Column("id", Sequence, primary_key=True, autoincrement=False, comment="attachment and ordinal"),
    sa.Column("text", Text, nullable=False),
    sa.Column("overlap", sa.Integer, nullable=False, comment="characters that repeat the end of the chunk before"),
    sa.Column("tokens", sa.Integer, nullable=False),
)

# Index segments (see `search/`): immutable, and merged into larger ones.
index_segments = sa.Table(
    "index_segments",
    metadata,
    sa.Column("id", Sequence, primary_key=True, autoincrement=True),
    sa.Column("vector_store_id", Text, nullable=False, index=True),
    sa.Column("state", Text, nullable=False, comment="building, ready or garbage"),
    sa.Column("built_by", Text, comment="token of the job that writes the blocks of a building one"),
    sa.Column("level", sa.Integer, nullable=False),
    sa.Column("chunks", sa.BigInteger, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False, comment="terms of all chunks"),
    sa.Column("postings", sa.BigInteger, nullable=False),
    sa.Column("buckets", sa.Integer, nullable=False),
    sa.CheckConstraint("state IN ('building', 'ready', 'garbage')", name="state_known"),
    sqlite_autoincrement=True,
)

index_postings = sa.Table(
    "index_postings",
    metadata,
    sa.Column("id", Sequence, primary_key=True, autoincrement=False, comment="segment and bucket"),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

index_documents = sa.Table(
    "index_documents",
    metadata,
    sa.Column("id", Sequence, primary_key=True, autoincrement=False, comment="segment and block"),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# Models whose vectors there are or were. A name with other dimensions is another model.
embedding_models = sa.Table(
    "embedding_models",
    metadata,
    sa.Column("id", Sequence, primary_key=True, autoincrement=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("dimensions", sa.Integer, nullable=False),
    sa.UniqueConstraint("name", "dimensions"),
    sqlite_autoincrement=True,
)

# Vectors of a few consecutive chunks of an attachment, with SQLite; PostgreSQL has the table `chunk_vectors`, see
# `repositories/vector_stores/pgvector.py`. Immutable, so that a search reads only blocks that it does not know yet.
vector_blocks = sa.Table(
    "vector_blocks",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    sa.Column("store", sa.BigInteger, nullable=False, comment="seq of the vector store"),
    sa.Column("model", sa.BigInteger, nullable=False),
    sa.Column("attachment", sa.BigInteger, nullable=False),
    sa.Column("first", sa.Integer, nullable=False, comment="ordinal of the first chunk"),
    sa.Column("chunks", sa.Integer, nullable=False),
    sa.Column("codes", sa.LargeBinary, nullable=False, comment="quantised, see `search/dense.py`"),
    sa.Index("vector_blocks_by_store", "store", "model", "seq"),
    sa.Index("vector_blocks_by_attachment", "attachment"),
    sqlite_autoincrement=True,
)

vector_values = sa.Table(
    "vector_values",
    metadata,
    sa.Column("id", Sequence, primary_key=True, autoincrement=False, comment="block and number in it"),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="float32, little endian"),
)

# Batches, see `domain.batches`. A row is never deleted.
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True, comment="order of creation, never shown"),
    sa.Column("id", Text, nullable=False, unique=True),
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("organization_id", Text, nullable=False, comment="of the project"),
    sa.Column("user_id", Text, nullable=False, comment="who created it"),
    sa.Column("endpoint", Text, nullable=False),
    sa.Column("completion_window", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("model", Text, comment="null unless all lines name the same"),
    sa.Column("errors", Text, comment="JSON; null unless validation failed"),
    sa.Column("metadata", Text, comment="JSON"),
    sa.Column("input_file_id", Text, nullable=False, comment="as the client named it"),
    sa.Column(
        "input_blob_key", Text, comment="not deleted as long as it stands here; null without input or at the end"
    ),
    sa.Column("input_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("input_sha256", Text, nullable=False, server_default=""),
    sa.Column("output_lifetime", sa.BigInteger, nullable=False, comment="seconds from the creation of its files"),
    sa.Column("output_file_id", Text),
    sa.Column("error_file_id", Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("in_progress_at", sa.BigInteger),
    sa.Column("finalizing_at", sa.BigInteger),
    sa.Column("completed_at", sa.BigInteger),
    sa.Column("failed_at", sa.BigInteger),
    sa.Column("expired_at", sa.BigInteger),
    sa.Column("cancelling_at", sa.BigInteger),
    sa.Column("cancelled_at", sa.BigInteger),
    sa.Column("total", sa.BigInteger, nullable=False, server_default="0", comment="lines; 0 until validated"),
    sa.Column("completed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("failed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("input_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("output_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("reasoning_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("total_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lines_per_second", sa.Float),
    sa.Column("pauses", Text, comment="JSON: why it sends no lines now; null if it does"),
    sa.Column("lines_in_flight", sa.BigInteger, comment="null unless it runs; so is line_limit"),
    sa.Column("line_limit", sa.BigInteger, comment="of lines in flight, at the model servers of its models"),
    sa.Column("output_size", sa.BigInteger, nullable=False, server_default="0", comment="of the journal"),
    sa.Column("error_size", sa.BigInteger, nullable=False, server_default="0", comment="of the journal"),
    sa.Column("bytes_reserved", sa.BigInteger, nullable=False, server_default="0", comment="for the journal"),
    sa.Column(
        "to_sweep",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="1 from its end until its journal is deleted",
    ),
    sa.Column("idempotency_key", Text, comment="as the client sent it"),
    sa.Column("fingerprint", Text, comment="of the request that came with the key"),
    sa.Column("retry_of", Text, comment="the batch whose failed lines this one repeats"),
    sa.UniqueConstraint("project_id", "idempotency_key"),
    sqlite_autoincrement=True,
)

# The journal of a batch: results as they came, whole lines, until the sweep of a batch that has ended.
batch_results = sa.Table(
    "batch_results",
    metadata,
    sa.Column("batch", sa.BigInteger, primary_key=True, autoincrement=False, comment="seq of the batch"),
    sa.Column("kind", Text, primary_key=True, comment="output or error"),
    sa.Column("offset_start", sa.BigInteger, primary_key=True, autoincrement=False, comment="in the results of a kind"),
    sa.Column("first_line", sa.BigInteger, nullable=False, comment="identifies the block: a line has one result"),
    sa.Column("lines", sa.LargeBinary, nullable=False, comment="uint32, little endian"),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("batch", "first_line"),
)

# Events to be delivered to the webhook; a row is deleted when it was.
webhook_events = sa.Table(
    "webhook_events",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("type", Text, nullable=False, comment="as in batch.completed"),
    sa.Column("subject", Text, nullable=False, comment="id of the object"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

# The audit log, see `domain.audit`. Rows are inserted with the change that they tell of, and sealed later.
audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("id", Sequence, primary_key=True, autoincrement=True, comment="never shown"),
    sa.Column("type", Text, nullable=False),
    sa.Column("effective_at", sa.BigInteger, nullable=False),
    sa.Column("organization_id", Text, comment="whose administrators see it; null for none"),
    sa.Column("project_id", Text),
    sa.Column("resource_id", Text, comment="what the event is about"),
    sa.Column("key_id", Text, comment="of the request, as are the next three; null for background tasks and commands"),
    sa.Column("user_id", Text),
    sa.Column("request_id", Text),
    sa.Column("address", Text),
    sa.Column("data", Text, comment="JSON"),
    sa.Column("sequence", sa.BigInteger, comment="place in the chain; null until sealed, as is the hash"),
    sa.Column("hash", Text, comment="see `domain.audit.chain`"),
    sqlite_autoincrement=True,
)

audit_chain = sa.Table(
    "audit_chain",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    sa.Column("last_sequence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_hash", Text, nullable=False, comment="empty at first"),
    sa.Column("anchor_sequence", sa.BigInteger, nullable=False, server_default="0", comment="of the last pruned event"),
    sa.Column("anchor_hash", Text, nullable=False),
    sa.Column(
        "complete_since", sa.BigInteger, nullable=False, comment="files created later have their events in the log"
    ),
)
