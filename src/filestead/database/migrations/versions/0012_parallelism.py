"""How many lines of a batch are in flight, for processes that do not run it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("batches", sa.Column("lines_in_flight", sa.BigInteger))
    op.add_column("batches", sa.Column("line_limit", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("batches", "line_limit")
    op.drop_column("batches", "lines_in_flight")
