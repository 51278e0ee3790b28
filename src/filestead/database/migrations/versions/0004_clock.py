"""What is known of the database's clock: one row."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "clock",
        sa.Column(
            "id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False
        ),
        sa.Column("seen_us", sa.BigInteger),
        sa.Column("proven_us", sa.BigInteger),
        sa.Column("jumped_us", sa.BigInteger),
    )
    op.execute("INSERT INTO clock (id) VALUES (1)")


def downgrade() -> None:
    op.drop_table("clock")
