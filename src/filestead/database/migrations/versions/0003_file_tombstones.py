"""The places in the listing of files that were deleted or have expired a short while ago."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "file_tombstones",
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("file_id", Text, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("kept_until_us", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("file_tombstones_by_end", "file_tombstones", ["kept_until_us"])


def downgrade() -> None:
    op.drop_table("file_tombstones")
