"""The bytes of small blobs in the database."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "inline_blobs",
        sa.Column("key", Text, sa.ForeignKey("blobs.key", ondelete="CASCADE"), primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
