"""The tables, as SQLAlchemy Core describes them. A change here comes with a migration; a test compares the two.

Amounts are bytes, times Unix seconds, unless a column ends in `_us` (microseconds).
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)
from sqlalchemy import Text as PlainText

from filestead.domain.blobs import BlobState

PENDING, LIVE, DELETED = (state.value for state in BlobState)

metadata = MetaData()

# SQLite gives a hidden monotonic sequence only to an INTEGER primary key.
Sequence = BigInteger().with_variant(Integer, "sqlite")

# By code points, whatever the locale of the database: an order that no update of a system library changes.
Text = PlainText().with_variant(PlainText(collation="C"), "postgresql")

installation = Table(
    "installation",
    metadata,
    Column(
        "id", Text, primary_key=True, comment="also written into the blob store, to know that the two belong together"
    ),
)

organizations = Table(
    "organizations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("bytes_used", BigInteger, nullable=False, server_default="0", comment="of files"),
    Column("bytes_reserved", BigInteger, nullable=False, server_default="0", comment="of pending blobs"),
    UniqueConstraint("organization_id", "name"),
    CheckConstraint("bytes_used >= 0 AND bytes_reserved >= 0", name="ledger_not_negative"),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column(
        "upload_arrival_us", BigInteger, nullable=False, server_default="0", comment="GCRA state of the upload rate"
    ),
    UniqueConstraint("organization_id", "name"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True, comment="SHA-256 of the key, hexadecimal"),
    Column("hint", Text, nullable=False),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("scopes", Text, nullable=False, comment="separated by blanks"),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

# The ledger of bytes: a blob has its row here before its first byte is written and until its last byte is gone.
blobs = Table(
    "blobs",
    metadata,
    Column("key", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column(
        "state", Text, nullable=False, comment="pending (being uploaded), live (of a file) or doomed (to be removed)"
    ),
    Column("lease_until_us", BigInteger, comment="when a sweep may take it; null for a live one"),
    Column("bytes_reserved", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("state IN ('pending', 'live', 'doomed')", name="state_known"),
    CheckConstraint("(state = 'live') = (lease_until_us IS NULL)", name="lease_unless_live"),
)

# Only visible files are here (and expired ones until the sweep comes).
files = Table(
    "files",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True, comment="order of publication, never shown"),
    Column("id", Text, nullable=False, unique=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("status", Text, nullable=False),
    Column("status_details", Text),
    Column("sha256", Text, nullable=False),
    Column("blob_key", Text, ForeignKey("blobs.key"), nullable=False, unique=True),
    sqlite_autoincrement=True,
)

# A row stays when its file is deleted, so that a late repetition of the upload does not bring the file back.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("key", Text, primary_key=True, comment="as the client sent it"),
    Column("fingerprint", Text, nullable=False, comment="of the form that made the file"),
    Column("file_id", Text, nullable=False),
    Column("bound_until_us", BigInteger, nullable=False),
)

# So that a pager whose cursor is a file that is gone goes on where it was. Nothing else of the file is kept.
file_tombstones = Table(
    "file_tombstones",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("file_id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("kept_until_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One row: what the last sweep found out about the database's clock (see `domain.clock`).
clock = Table(
    "clock",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    Column("seen_us", BigInteger, comment="what it said; null before the first sweep"),
    Column("proven_us", BigInteger, comment="what it would have said if it had not jumped"),
    Column("jumped_us", BigInteger, comment="the proven time of the jump; null while the clock is believed"),
)

leased = blobs.c.lease_until_us.is_not(None)
expiring = files.c.expires_at.is_not(None)
Index("blobs_by_lease", blobs.c.lease_until_us, sqlite_where=leased, postgresql_where=leased)
Index("files_by_time", files.c.project_id, files.c.created_at, files.c.seq)
Index("files_by_purpose", files.c.project_id, files.c.purpose, files.c.created_at, files.c.seq)
Index("files_by_expiry", files.c.expires_at, sqlite_where=expiring, postgresql_where=expiring)
Index("idempotency_keys_by_end", idempotency_keys.c.bound_until_us)
Index("file_tombstones_by_end", file_tombstones.c.kept_until_us)
