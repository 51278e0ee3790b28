"""Installations of tests that move them: in a data directory, or in PostgreSQL and S3."""

import asyncio
import contextlib
import hashlib
import itertools
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from filestead import installation, settings
from filestead.blobs.keys import new_inline_key, new_key
from filestead.database.repositories.table_copier import (
    AUDIT_TABLES,
    RESOURCE_TABLES,
    TABLES_AFTER_FILES,
    TABLES_BEFORE_FILES,
)
from filestead.domain.blobs import is_inline
from filestead.domain.files.model import PendingUpload
from tests.nodes.nodes import NO_QUOTA, completed
from tests.support.databases import shared_postgres
from tests.support.forked import run_forked
from tests.support.installations import OnDisk, OnServers, clean_environment
from tests.support.seaweedfs import shared_server
from tests.support.servers import Server

KEY = "sk-copied-0123456789"
TABLES = (*TABLES_BEFORE_FILES, "files", "blob_parts", *TABLES_AFTER_FILES, *RESOURCE_TABLES, *AUDIT_TABLES)
_numbers = itertools.count()


class Place:
    """Where an installation is, or is to be: in a data directory, or in PostgreSQL and S3 if `inside` says so."""

    def __init__(self, data_dir: Path, name: str = "", inside: OnServers | None = None) -> None:
        self.name = name or str(data_dir)
        self.data_dir = data_dir
        self.inside = inside or OnDisk(data_dir)
        self.is_shared = inside is not None
        self.variables = self.inside.variables()

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment() | self.variables

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command on this installation."""
        environment = self.environment | {"FILESTEAD_DATA_DIR": str(self.data_dir)}
        return run_forked(list(words), environment, timeout=120)

    def serve(self, key: str | None = KEY, **settings: Any) -> Server:
        server = Server(self.data_dir, key=key, env=self.variables, **{"uploads_per_minute": 0, **settings})
        server.client.headers["authorization"] = f"Bearer {KEY}"
        return server

    @contextlib.contextmanager
    def opening(self) -> Iterator[installation.Installation]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(name, value)
            yield installation.from_settings(settings.load(data_dir=self.data_dir, bootstrap_key=KEY))

    def prepare(self) -> None:
        """Leave what a server leaves that was started and stopped."""
        with self.opening() as found, found.prepare():
            found.bootstrap()

    @contextlib.contextmanager
    def backends(self) -> Iterator[installation.Backends]:
        with self.opening() as found:
            opened = found.open()
        try:
            yield opened
        finally:
            opened.close()

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Everything in the database."""
        with self.backends() as backends:

            async def read() -> dict[str, list[dict[str, Any]]]:
                return {table: await backends.tables.rows(table, None, 10_000) for table in TABLES}

            return asyncio.run(read())

    def content(self, key: str) -> bytes:
        """The bytes of a blob."""
        with self.backends() as backends:

            async def read() -> bytes:
                return b"".join([block async for block in backends.blobs.read(key)])

            return asyncio.run(read())

    def damage(self, key: str, content: bytes | None) -> None:
        """Put other bytes in the place of a blob, or none."""
        if content is None:
            self.inside.lose(key)
        elif is_inline(key):
            self.inside.sql("UPDATE inline_blobs SET data = ? WHERE key = ?", content, key)
        elif isinstance(self.inside, OnDisk):
            (self.data_dir / "blobs" / key[:2] / key).write_bytes(content)
        else:
            prefix = self.variables["FILESTEAD_BLOB_URL"].rpartition("/")[2]
            status, _ = self.inside.seaweed.send("PUT", f"{prefix}/blobs/{key[:2]}/{key}", body=content)
            assert status == 200


@dataclass
class Places:
    """Makes places; a copy is between two of them."""

    folder: Path
    made: list[str] = field(default_factory=list)

    def embedded(self) -> Place:
        return Place(self.folder / f"data{next(_numbers)}")

    def shared(self) -> Place:
        """PostgreSQL and S3, migrated."""
        self.made.append(f"copy-{next(_numbers)}")
        return Place(self.folder / "node", "shared", OnServers(shared_postgres(), shared_server(), self.made[-1]))


def fill(place: Place, sizes: list[int], *, inline: bool = False) -> list[str]:
    """Files without a server between; returns their ids, oldest first."""
    place.prepare()
    with place.backends() as backends:

        async def add() -> list[str]:
            who = await backends.keys.find(hashlib.sha256(KEY.encode()).hexdigest())
            assert who is not None
            lane = asyncio.Semaphore(16)

            async def one(size: int) -> str:
                content, blob_key = secrets.token_bytes(size), new_inline_key(0) if inline else new_key()

                async def chunks() -> Any:
                    for start in range(0, size, 1024 * 1024):
                        yield content[start : start + 1024 * 1024]

                made = completed(who, blob_key, size, sha256=hashlib.sha256(content).hexdigest())
                upload = PendingUpload(blob_key, who.project_id, who.organization_id, who.user_id, 0, None)
                async with lane:
                    await backends.files.begin_upload(upload, rate=0, quota=NO_QUOTA, lease_seconds=120)
                    await backends.blobs.put(blob_key, chunks())
                    return (await backends.files.publish(made, quota=NO_QUOTA)).id

            return await asyncio.gather(*map(one, sizes))

        return asyncio.run(add())


def searchable(server: Server, file_ids: list[str]) -> str:
    """A vector store of these files, when they are indexed."""
    store: str = server.client.post("/vector_stores", json={"file_ids": file_ids}).json()["id"]
    deadline = time.monotonic() + 30
    while server.client.get(f"/vector_stores/{store}").json()["status"] == "in_progress":
        assert time.monotonic() < deadline, "the files are not indexed"
        time.sleep(0.1)
    return store
