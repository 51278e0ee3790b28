"""Uploads in parts, and files whose bytes are in several blobs. Follows 0007."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("files", sa.Column("parts", sa.Integer))
    op.create_table(
        "blob_parts",
        sa.Column("blob_key", Text, sa.ForeignKey("blobs.key", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("part_key", Text, sa.ForeignKey("blobs.key", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "uploads",
        sa.Column("id", Text, primary_key=True),
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("filename", Text, nullable=False),
        sa.Column("purpose", Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("bytes_received", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("file_lifetime", sa.BigInteger),
        sa.Column("file_id", Text),
        sa.Column("completed_with", Text),
        sa.CheckConstraint("status IN ('pending', 'completed', 'cancelled', 'expired')", name="status_known"),
        sa.CheckConstraint("bytes_received <= bytes", name="parts_fit"),
    )
    unfinished = sa.text("status = 'pending'")
    op.create_index("uploads_pending", "uploads", ["expires_at"], sqlite_where=unfinished, postgresql_where=unfinished)
    op.create_index("uploads_by_end", "uploads", ["expires_at"])
    op.create_table(
        "upload_parts",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", Text, nullable=False, unique=True),
        sa.Column("upload_id", Text, sa.ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False),
        sa.Column("blob_key", Text, sa.ForeignKey("blobs.key"), nullable=False, index=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("upload_parts_by_upload", "upload_parts", ["upload_id", "seq"])
