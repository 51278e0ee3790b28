"""Jobs, and vector stores with their files, file batches, chunks and index segments."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# The row of an attachment disappears by a cascade, which tells nobody: the trigger ends its job, so that no worker adds
# chunks any more, and records what is left to delete. A cancelled one may be recorded already.
DETACHED = """
DELETE FROM jobs WHERE kind = 'index' AND subject = CAST(OLD.seq AS TEXT);
INSERT INTO detached_files (attachment, project_id, usage_bytes) VALUES (OLD.seq, OLD.project_id, OLD.usage_bytes)
ON CONFLICT DO NOTHING;
"""
SQLITE_TRIGGER = f"""
CREATE TRIGGER vector_store_files_detached AFTER DELETE ON vector_store_files
BEGIN {DETACHED} END
"""
POSTGRES_FUNCTION = f"""
CREATE FUNCTION filestead_detached() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {DETACHED} RETURN NULL; END
$$
"""
POSTGRES_TRIGGER = """
CREATE TRIGGER vector_store_files_detached AFTER DELETE ON vector_store_files
FOR EACH ROW EXECUTE FUNCTION filestead_detached()
"""
TABLES = (
    "index_documents",
    "index_postings",
    "index_segments",
    "vector_store_chunks",
    "vector_store_files",
    "detached_files",
    "file_batches",
    "vector_stores",
    "job_turns",
    "jobs",
)


def upgrade() -> None:
    op.add_column("organizations", sa.Column("attach_arrival_us", sa.BigInteger, nullable=False, server_default="0"))
    _create_jobs()
    _create_vector_stores()
    _create_index()


def _store_column() -> "sa.Column[str]":
    return sa.Column("vector_store_id", Text, sa.ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", Sequence, primary_key=True, autoincrement=True),
        sa.Column("kind", Text, nullable=False),
        sa.Column("subject", Text, nullable=False),
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_us", sa.BigInteger),
        sa.Column("token", Text),
        sa.Column("error", Text),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("died_us", sa.BigInteger),
        sa.UniqueConstraint("kind", "subject"),
        sa.CheckConstraint("(due_us IS NULL) = (died_us IS NOT NULL)", name="dead_or_due"),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_turn", "jobs", ["project_id", "due_us", "id"])
    for name, columns, column in (("jobs_by_token", ["token"], "token"), ("jobs_dead", ["died_us", "id"], "died_us")):
        given = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "jobs", columns, sqlite_where=given, postgresql_where=given)
    op.create_table(
        "job_turns",
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("served_us", sa.BigInteger, nullable=False),
    )


def _create_vector_stores() -> None:
    op.create_table(
        "vector_stores",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", Text, nullable=False, unique=True),
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("name", Text),
        sa.Column("description", Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_active_at", sa.BigInteger, nullable=False),
        sa.Column("expires_after_days", sa.Integer),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("metadata", Text, nullable=False, server_default="{}"),
        sqlite_autoincrement=True,
    )
    ending = sa.text("expires_at IS NOT NULL")
    op.create_index(
        "vector_stores_by_expiry", "vector_stores", ["expires_at"], sqlite_where=ending, postgresql_where=ending
    )
    op.create_index("vector_stores_by_project", "vector_stores", ["project_id", "seq"])
    op.create_table(
        "file_batches",
        sa.Column("id", Text, primary_key=True),
        _store_column(),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("cancelled", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_index("ix_file_batches_vector_store_id", "file_batches", ["vector_store_id"])
    op.create_table(
        "vector_store_files",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        _store_column(),
        sa.Column("file_id", Text, sa.ForeignKey("files.id", ondelete="CASCADE"), nullable=False),
        sa.Column("project_id", Text, nullable=False),
        sa.Column("file_batch_id", Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("status", Text, nullable=False),
        sa.Column("error_code", Text),
        sa.Column("error_message", Text),
        sa.Column("usage_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("chunk_tokens", sa.Integer, nullable=False),
        sa.Column("chunk_overlap_tokens", sa.Integer, nullable=False),
        sa.Column("attributes", Text, nullable=False, server_default="{}"),
        sa.UniqueConstraint("vector_store_id", "file_id"),
        sqlite_autoincrement=True,
    )
    table = "vector_store_files"
    op.create_index("ix_vector_store_files_file_id", table, ["file_id"])
    op.create_index("vector_store_files_by_store", table, ["vector_store_id", "seq"])
    covered = ["vector_store_id", "status", "seq", "expires_at", "usage_bytes"]
    op.create_index("vector_store_files_by_status", table, covered)
    in_batch = sa.text("file_batch_id IS NOT NULL")
    op.create_index(
        "vector_store_files_by_batch",
        table,
        ["file_batch_id", "seq"],
        sqlite_where=in_batch,
        postgresql_where=in_batch,
    )


def _create_index() -> None:
    op.create_table(
        "detached_files",
        sa.Column("attachment", Sequence, primary_key=True, autoincrement=False),
        sa.Column("project_id", Text),
        sa.Column("usage_bytes", sa.BigInteger, nullable=False, server_default="0"),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES_FUNCTION)
        op.execute(POSTGRES_TRIGGER)
    else:
        op.execute(SQLITE_TRIGGER)
    op.create_table(
        "vector_store_chunks",
        sa.Column("id", Sequence, primary_key=True, autoincrement=False),
        sa.Column("text", Text, nullable=False),
        sa.Column("overlap", sa.Integer, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
    )
    op.create_table(
        "index_segments",
        sa.Column("id", Sequence, primary_key=True, autoincrement=True),
        sa.Column("vector_store_id", Text, nullable=False),
        sa.Column("state", Text, nullable=False),
        sa.Column("built_by", Text),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("chunks", sa.BigInteger, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("postings", sa.BigInteger, nullable=False),
        sa.Column("buckets", sa.Integer, nullable=False),
        sa.CheckConstraint("state IN ('building', 'ready', 'garbage')", name="state_known"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_index_segments_vector_store_id", "index_segments", ["vector_store_id"])
    not_ready = sa.text("state != 'ready'")
    op.create_index(
        "index_segments_not_ready", "index_segments", ["id"], sqlite_where=not_ready, postgresql_where=not_ready
    )
    for name in ("index_postings", "index_documents"):
        op.create_table(
            name,
            sa.Column("id", Sequence, primary_key=True, autoincrement=False),
            sa.Column("data", sa.LargeBinary, nullable=False),
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION filestead_detached()")
    op.drop_column("organizations", "attach_arrival_us")
