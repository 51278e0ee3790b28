"""Keys that may read and write files may also use models."""

from alembic import op

revision = "0009"
down_revision = "0008"

# Scopes are stored in the order of the alphabet.
ADD = """
    UPDATE keys SET scopes = scopes || ' inference'
    WHERE scopes IN ('files:read files:write', 'files:read files:system files:write')
"""


def upgrade() -> None:
    op.execute(ADD)


def downgrade() -> None:
    op.execute("UPDATE keys SET scopes = replace(scopes, ' inference', '') WHERE scopes LIKE '% inference'")
