"""Nodes without HTTP: record stores with connections of their own, over one real PostgreSQL database."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from filestead.blobs.keys import new_key
from filestead.database.engines.postgres.database import PostgresDatabase
from filestead.database.repositories.files.repository import SqlFileRepository
from filestead.database.repositories.keys import SqlKeyRepository
from filestead.domain.access import DEFAULT_SCOPES, Principal
from filestead.domain.files.model import CompletedUpload, File, FileStatus, IdempotencyRecord, PendingUpload
from filestead.domain.quota import Quota
from filestead.installation import new_id
from tests.support.databases import fresh_database
from tests.support.postgres import PostgresServer

NO_QUOTA = Quota(None, None)
LEASE = 120


@dataclass
class Node:
    """What a process of a cluster has open."""

    database: PostgresDatabase
    files: SqlFileRepository = field(init=False)
    keys: SqlKeyRepository = field(init=False)

    def __post_init__(self) -> None:
        self.files = SqlFileRepository(self.database)
        self.keys = SqlKeyRepository(self.database, new_id)

    async def begin(
        self, who: Principal, at_least: int = 0, *, rate: int = 0, quota: Quota = NO_QUOTA, key: str | None = None
    ) -> str:
        blob_key = new_key()
        upload = PendingUpload(
            blob_key, who.project_id, who.organization_id, who.user_id, at_least, key, reserve_bytes=at_least
        )
        await self.files.begin_upload(upload, rate=rate, quota=quota, lease_seconds=LEASE)
        return blob_key

    async def add(
        self, who: Principal, size: int = 5, *, quota: Quota = NO_QUOTA, at_least: int = 0, **changes: Any
    ) -> File:
        """An upload, taken back if it makes no file, as the domain does."""
        blob_key = await self.begin(who, at_least, quota=quota)
        file = None
        try:
            file = await self.files.publish(completed(who, blob_key, size, **changes), quota=quota)
        finally:
            if file is None or file.blob_key != blob_key:
                assert await self.files.abandon(blob_key)
        return file


@dataclass
class Cluster:
    """Nodes over one database."""

    server: PostgresServer
    name: str
    nodes: list[Node]

    async def principal(self, project: str = "one", *, user: str = "ada") -> Principal:
        digest = hashlib.sha256(f"{project}/{user}".encode()).hexdigest()
        await self.nodes[0].keys.create(
            key_id=f"key_{project}-{user}",
            digest=digest,
            hint="",
            organization="default",
            project=project,
            user=user,
            scopes=DEFAULT_SCOPES,
            expires_after_seconds=None,
        )
        found = await self.nodes[0].keys.find(digest)
        assert found is not None
        return found

    async def ids(self, who: Principal) -> list[str]:
        """Every visible file, oldest first."""
        page = await self.nodes[0].files.page(
            who.project_id, purpose=None, after=None, limit=10_000, newest_first=False
        )
        return [file.id for file in page.files]

    async def is_sound(self) -> bool:
        """Whether the ledger is what the files and reservations add up to, and no promise was broken."""
        return not [finding for finding in await self.nodes[0].files.check() if finding.severity == "A"]


@contextmanager
def cluster(size: int = 2, **options: Any) -> Iterator[Cluster]:
    """Nodes over a fresh database of the shared server."""
    with fresh_database() as (server, name), ExitStack() as opened:
        databases = [
            opened.enter_context(closing(PostgresDatabase(server.url_of(name), **options))) for _ in range(size)
        ]
        yield Cluster(server, name, [Node(database) for database in databases])


def completed(
    who: Principal, blob_key: str, size: int = 5, *, key: str | None = None, form: str = "", **more: Any
) -> CompletedUpload:
    made = CompletedUpload(
        id=new_id("file-"),
        blob_key=blob_key,
        project_id=who.project_id,
        organization_id=who.organization_id,
        filename="a.txt",
        purpose="user_data",
        bytes=size,
        sha256="0" * 64,
        expires_after_seconds=None,
        status=FileStatus.PROCESSED,
        status_details=None,
        idempotency=IdempotencyRecord(key, form, 86_400) if key else None,
    )
    return replace(made, **more)
