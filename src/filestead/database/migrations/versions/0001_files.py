"""Organizations, projects, users, keys, the ledger of blobs, and files."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# STABLE, so that an index may be used; the clock of the wall and not of the transaction, which may have waited.
CLOCK = """
CREATE FUNCTION filestead_now() RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN RETURN floor(extract(epoch FROM clock_timestamp()) * 1000000); END
$$
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(CLOCK)
    op.create_table("installation", sa.Column("id", Text, primary_key=True))
    op.create_table(
        "organizations",
        sa.Column("id", Text, primary_key=True),
        sa.Column("name", Text, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "projects",
        sa.Column("id", Text, primary_key=True),
        sa.Column("organization_id", Text, sa.ForeignKey("organizations.id"), nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("bytes_used", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("bytes_reserved", sa.BigInteger, nullable=False, server_default="0"),
        sa.UniqueConstraint("organization_id", "name"),
        sa.CheckConstraint("bytes_used >= 0 AND bytes_reserved >= 0", name="ledger_not_negative"),
    )
    op.create_table(
        "users",
        sa.Column("id", Text, primary_key=True),
        sa.Column("organization_id", Text, sa.ForeignKey("organizations.id"), nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("upload_arrival_us", sa.BigInteger, nullable=False, server_default="0"),
        sa.UniqueConstraint("organization_id", "name"),
    )
    op.create_table(
        "keys",
        sa.Column("id", Text, primary_key=True),
        sa.Column("digest", Text, nullable=False, unique=True),
        sa.Column("hint", Text, nullable=False),
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("user_id", Text, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("scopes", Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_table(
        "blobs",
        sa.Column("key", Text, primary_key=True),
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("state", Text, nullable=False),
        sa.Column("lease_until_us", sa.BigInteger),
        sa.Column("bytes_reserved", sa.BigInteger, nullable=False, server_default="0"),
        sa.CheckConstraint("state IN ('pending', 'live', 'doomed')", name="state_known"),
        sa.CheckConstraint("(state = 'live') = (lease_until_us IS NULL)", name="lease_unless_live"),
    )
    op.create_table(
        "files",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
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
        sqlite_autoincrement=True,
    )
    leased, expiring = sa.text("lease_until_us IS NOT NULL"), sa.text("expires_at IS NOT NULL")
    op.create_index("blobs_by_lease", "blobs", ["lease_until_us"], sqlite_where=leased, postgresql_where=leased)
    op.create_index("files_by_time", "files", ["project_id", "created_at", "seq"])
    op.create_index("files_by_purpose", "files", ["project_id", "purpose", "created_at", "seq"])
    op.create_index("files_by_expiry", "files", ["expires_at"], sqlite_where=expiring, postgresql_where=expiring)


def downgrade() -> None:
    for table in ("files", "blobs", "keys", "users", "projects", "organizations", "installation"):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION filestead_now()")
