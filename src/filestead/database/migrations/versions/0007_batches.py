"""Batches, their journal, and events for the webhook."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
PARTIAL = {
    "batches_by_pin": ("input_blob_key", "input_blob_key IS NOT NULL"),
    "batches_to_sweep": ("seq", "to_sweep = 1"),
    "batches_reserving": ("project_id", "bytes_reserved > 0"),
}


def upgrade() -> None:
    op.add_column("projects", sa.Column("batch_arrival_us", sa.BigInteger, nullable=False, server_default="0"))
    _create_batches()
    _create_results()
    op.create_index("batches_by_time", "batches", ["project_id", "created_at", "seq"])
    for name, (column, condition) in PARTIAL.items():
        op.create_index(name, "batches", [column], sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", Text, nullable=False, unique=True),
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("organization_id", Text, nullable=False),
        sa.Column("user_id", Text, nullable=False),
        sa.Column("endpoint", Text, nullable=False),
        sa.Column("completion_window", Text, nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("model", Text),
        sa.Column("errors", Text),
        sa.Column("metadata", Text),
        sa.Column("input_file_id", Text, nullable=False),
        sa.Column("input_blob_key", Text),
        sa.Column("input_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("input_sha256", Text, nullable=False, server_default=""),
        sa.Column("output_lifetime", sa.BigInteger, nullable=False),
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
        sa.Column("total", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("completed", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("failed", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("input_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("output_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("total_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("lines_per_second", sa.Float),
        sa.Column("output_size", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("error_size", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("bytes_reserved", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("to_sweep", sa.Integer, nullable=False, server_default="0"),
        sa.Column("idempotency_key", Text),
        sa.Column("fingerprint", Text),
        sa.Column("retry_of", Text),
        sa.UniqueConstraint("project_id", "idempotency_key"),
        sqlite_autoincrement=True,
    )


def _create_results() -> None:
    op.create_table(
        "batch_results",
        sa.Column("batch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", Text, primary_key=True),
        sa.Column("offset_start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("first_line", sa.BigInteger, nullable=False),
        sa.Column("lines", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("batch", "first_line"),
    )
    op.create_table(
        "webhook_events",
        sa.Column("id", Text, primary_key=True),
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("type", Text, nullable=False),
        sa.Column("subject", Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for table in ("webhook_events", "batch_results", "batches"):
        op.drop_table(table)
    op.drop_column("projects", "batch_arrival_us")
