"""Embeddings: models, what has vectors, and the vectors of SQLite. PostgreSQL keeps its own, see `pgvector.py`."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("vector_stores", sa.Column("embedding_model", sa.BigInteger))
    op.add_column("vector_store_files", sa.Column("embedded_model", sa.BigInteger))
    op.create_table(
        "embedding_models",
        sa.Column("id", Sequence, primary_key=True, autoincrement=True),
        sa.Column("name", Text, nullable=False),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.UniqueConstraint("name", "dimensions"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vector_blocks",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("store", sa.BigInteger, nullable=False),
        sa.Column("model", sa.BigInteger, nullable=False),
        sa.Column("attachment", sa.BigInteger, nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("codes", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("vector_blocks_by_store", "vector_blocks", ["store", "model", "seq"])
    op.create_index("vector_blocks_by_attachment", "vector_blocks", ["attachment"])
    op.create_table(
        "vector_values",
        sa.Column("id", Sequence, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for table in ("vector_values", "vector_blocks", "embedding_models"):
        op.drop_table(table)
    op.drop_column("vector_store_files", "embedded_model")
    op.drop_column("vector_stores", "embedding_model")
