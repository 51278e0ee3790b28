"""Idempotency keys, and the files that they made."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", Text, sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("key", Text, primary_key=True),
        sa.Column("fingerprint", Text, nullable=False),
        sa.Column("file_id", Text, nullable=False),
        sa.Column("bound_until_us", sa.BigInteger, nullable=False),
    )
    op.create_index("idempotency_keys_by_end", "idempotency_keys", ["bound_until_us"])


def downgrade() -> None:
    op.drop_table("idempotency_keys")
