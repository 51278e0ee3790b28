"""The audit log: its events, and the one row with the ends of their hash chain."""

import sqlalchemy as sa
from alembic import op

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", Sequence, primary_key=True, autoincrement=True),
        sa.Column("type", Text, nullable=False),
        sa.Column("effective_at", sa.BigInteger, nullable=False),
        sa.Column("organization_id", Text),
        sa.Column("project_id", Text),
        sa.Column("resource_id", Text),
        sa.Column("key_id", Text),
        sa.Column("user_id", Text),
        sa.Column("request_id", Text),
        sa.Column("address", Text),
        sa.Column("data", Text),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("hash", Text),
        sqlite_autoincrement=True,
    )
    unsealed, sealed = sa.text("sequence IS NULL"), sa.text("sequence IS NOT NULL")
    op.create_index("audit_events_unsealed", "audit_events", ["id"], sqlite_where=unsealed, postgresql_where=unsealed)
    op.create_index(
        *("audit_events_by_sequence", "audit_events", ["sequence"]),
        unique=True,
        sqlite_where=sealed,
        postgresql_where=sealed,
    )
    op.create_index(
        *("audit_events_by_organization", "audit_events", ["organization_id", "sequence"]),
        sqlite_where=sealed,
        postgresql_where=sealed,
    )
    op.create_table(
        "audit_chain",
        sa.Column(
            "id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False
        ),
        sa.Column("last_sequence", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_hash", Text, nullable=False),
        sa.Column("anchor_sequence", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("anchor_hash", Text, nullable=False),
        sa.Column("complete_since", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO audit_chain (id, last_hash, anchor_hash, complete_since) "
        "SELECT 1, '', '', CASE WHEN EXISTS (SELECT 1 FROM files) THEN filestead_now() / 1000000 ELSE 0 END"
    )


def downgrade() -> None:
    op.drop_table("audit_chain")
    op.drop_table("audit_events")
