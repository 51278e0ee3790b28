"""Which parts of an upload are repetitions: by the key that the client sent, or by what may still arrive."""

import sqlalchemy as sa
from alembic import op

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("upload_parts", sa.Column("idempotency_key", Text))
    op.add_column("upload_parts", sa.Column("first_copy_due", sa.Integer, nullable=False, server_default="0"))
    keyed = sa.text("idempotency_key IS NOT NULL")
    op.create_index(
        "upload_parts_by_key",
        "upload_parts",
        ["upload_id", "idempotency_key"],
        unique=True,
        sqlite_where=keyed,
        postgresql_where=keyed,
    )


def downgrade() -> None:
    op.drop_index("upload_parts_by_key", "upload_parts")
    op.drop_column("upload_parts", "first_copy_due")
    op.drop_column("upload_parts", "idempotency_key")
