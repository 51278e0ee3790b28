"""Organizations, projects, users, keys, the ledger of blobs, and files."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table("installation", sa.Column("id", sa.Text, primary_key=True))
    op.create_table(
        "organizations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organization_id", sa.Text, sa.ForeignKey("organizations.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("bytes_used", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("bytes_reserved", sa.BigInteger, nullable=False, server_default="0"),
        sa.UniqueConstraint("organization_id", "name"),
        sa.CheckConstraint("bytes_used >= 0 AND bytes_reserved >= 0", name="ledger_not_negative"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organization_id", sa.Text, sa.ForeignKey("organizations.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("upload_arrival_us", sa.BigInteger, nullable=False, server_default="0"),
        sa.UniqueConstraint("organization_id", "name"),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_table(
        "blobs",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("project_id", sa.Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("lease_until_us", sa.BigInteger),
        sa.Column("bytes_reserved", sa.BigInteger, nullable=False, server_default="0"),
        sa.CheckConstraint("state IN ('pending', 'live', 'doomed')", name="state_known"),
        sa.CheckConstraint("(state = 'live') = (lease_until_us IS NULL)", name="lease_unless_live"),
    )
    op.create_table(
        "files",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("project_id", sa.Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("status_details", sa.Text),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("blob_key", sa.Text, sa.ForeignKey("blobs.key"), nullable=False, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_index("blobs_by_lease", "blobs", ["lease_until_us"], sqlite_where=sa.text("lease_until_us IS NOT NULL"))
    op.create_index("files_by_time", "files", ["project_id", "created_at", "seq"])
    op.create_index("files_by_purpose", "files", ["project_id", "purpose", "created_at", "seq"])
    op.create_index("files_by_expiry", "files", ["expires_at"], sqlite_where=sa.text("expires_at IS NOT NULL"))


def downgrade() -> None:
    for table in ("files", "blobs", "keys", "users", "projects", "organizations", "installation"):
        op.drop_table(table)
