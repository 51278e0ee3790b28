"""Why a batch sends no lines now, for processes that do not run it."""

import sqlalchemy as sa
from alembic import op

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("batches", sa.Column("pauses", Text))
    paused = sa.text("pauses IS NOT NULL")
    op.create_index("batches_paused", "batches", ["seq"], sqlite_where=paused, postgresql_where=paused)


def downgrade() -> None:
    op.drop_index("batches_paused", "batches")
    op.drop_column("batches", "pauses")
