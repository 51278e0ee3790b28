"""Keys that may read and write files may also use models."""

from alembic import op

revision = "0009"
down_revision = "0007"

DEFAULT = "'files:read files:write'"
SYSTEM = "'files:read files:system files:write'"


def upgrade() -> None:
    # Scopes are stored in the order of the alphabet.
    op.execute(f"UPDATE keys SET scopes = scopes || ' inference' WHERE scopes IN ({DEFAULT}, {SYSTEM})")


def downgrade() -> None:
    op.execute("UPDATE keys SET scopes = replace(scopes, ' inference', '') WHERE scopes LIKE '% inference'")
