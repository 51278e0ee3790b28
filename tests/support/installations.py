"""Where the installation of a test keeps rows and bytes: in its data directory, or on a real PostgreSQL and S3 store.

`pytest --profile embedded|shared` chooses which of the two a data directory stands for.
"""

import contextlib
import itertools
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from filestead import installation, settings
from filestead.domain.blobs import is_inline
from tests.support.databases import shared_postgres
from tests.support.postgres import PostgresServer
from tests.support.seaweedfs import SeaweedServer, shared_server

PROFILES = ("embedded", "shared")


class Place(Protocol):
    """Rows and bytes of one installation, as a test sees them beside the server."""

    def variables(self) -> dict[str, str]:
        """The environment that leads a server there; the installation is made first, where the server does not."""

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Run a statement, with `?` for values."""

    def dump(self) -> bytes:
        """Everything in the database."""

    def staged(self) -> set[str]:
        """What is there of uploads that are not finished."""

    def stored(self) -> set[str]:
        """The keys of all blobs."""

    def lose(self, key: str) -> None:
        """Take a blob away."""

    def leave(self, key: str) -> None:
        """Store a blob that no row knows."""


class OnDisk:
    """The embedded installation: SQLite and files in the data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir

    def variables(self) -> dict[str, str]:
        return {}

    def sql(self, statement: str, *values: object) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self._folder / "filestead.db", isolation_level=None)) as connection:
            return connection.execute(statement, values).fetchall()

    def dump(self) -> bytes:
        return b"".join(path.read_bytes() for path in self._folder.glob("filestead.db*"))

    def staged(self) -> set[str]:
        return set(os.listdir(self._folder / "staging"))

    def stored(self) -> set[str]:
        return {entry.name for entry in (self._folder / "blobs").glob("*/*")} | inline_keys(self)

    def lose(self, key: str) -> None:
        if is_inline(key):
            self.sql("DELETE FROM inline_blobs WHERE key = ?", key)
            return
        (self._folder / "blobs" / key[:2] / key).unlink()

    def leave(self, key: str) -> None:
        path = self._folder / "blobs" / key[:2] / key
        path.write_bytes(b"x")
        path.chmod(0o600)


class OnServers:
    """A shared installation: a database and a prefix of a bucket for it alone."""

    def __init__(self, postgres: PostgresServer, seaweed: SeaweedServer, name: str) -> None:
        self.postgres = postgres
        self.seaweed = seaweed
        self.name = name
        self._made = False

    def variables(self) -> dict[str, str]:
        values = {
            "FILESTEAD_DATABASE_URL": self.postgres.url_of(self.name),
            "FILESTEAD_BLOB_URL": f"s3://{self.seaweed.bucket}/{self.name}",
            "FILESTEAD_S3_ENDPOINT": self.seaweed.endpoint,
            "AWS_ACCESS_KEY_ID": self.seaweed.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.seaweed.credentials.secret_access_key,
        }
        if not self._made:
            self.postgres.create(self.name)
            with pytest.MonkeyPatch.context() as patch:
                for name in os.environ.keys() - clean_environment().keys():
                    patch.delenv(name)
                for name, value in values.items():
                    patch.setenv(name, value)
                # What `filestead migrate` does, without the time that a new process takes.
                installation.from_settings(settings.load()).migrate()
            self._made = True
        return values

    def sql(self, statement: str, *values: object) -> list[Any]:
        with self.postgres.session(self.name) as session:
            cursor = session.execute(statement.replace("?", "%s"), values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def dump(self) -> bytes:
        tables = self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert len(tables) > 5
        return "\n".join(row for (name,) in tables for (row,) in self.sql(f"SELECT t::text FROM {name} t")).encode()

    def staged(self) -> set[str]:
        status, body = self.seaweed.send("GET", "", {"uploads": "", "prefix": f"{self.name}/"})
        assert status == 200, body
        found = re.findall("<Upload>.*?<Key>([^<]*)</Key>", body.decode(), re.DOTALL)
        assert len(found) == body.count(b"<Upload>")
        return {key.rpartition("/")[2] for key in found}

    def stored(self) -> set[str]:
        found: list[str] = []
        query = {"list-type": "2", "prefix": f"{self.name}/blobs/"}
        while True:
            status, body = self.seaweed.send("GET", "", query)
            assert status == 200, body
            found += re.findall("<Key>([^<]*)</Key>", body.decode())
            if b"<IsTruncated>true" not in body:
                return {key.rpartition("/")[2] for key in found} | inline_keys(self)
            query["start-after"] = found[-1]

    def object_name(self, key: str) -> str:
        """Where the blob is in the bucket."""
        return f"{self.name}/blobs/{key[:2]}/{key}"

    def lose(self, key: str) -> None:
        if is_inline(key):
            self.sql("DELETE FROM inline_blobs WHERE key = ?", key)
            return
        status, body = self.seaweed.send("DELETE", self.object_name(key))
        assert status == 204, body

    def leave(self, key: str) -> None:
        status, body = self.seaweed.send("PUT", self.object_name(key), body=b"x")
        assert status == 200, body


def inline_keys(place: Place) -> set[str]:
    """The keys of the blobs that the database holds."""
    return {key for (key,) in place.sql("SELECT key FROM inline_blobs")}


@contextlib.contextmanager
def environment_of(data_dir: Path) -> Iterator[None]:
    """Within the block, settings of this process lead to the installation of a data directory."""
    wanted = clean_environment() | place_of(data_dir).variables() | {"FILESTEAD_DATA_DIR": str(data_dir)}
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - wanted.keys():
            patch.delenv(name)
        for name, value in wanted.items():
            patch.setenv(name, value)
        yield


def clean_environment() -> dict[str, str]:
    """The environment without what the developer has set for an installation."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("FILESTEAD_", "AWS_"))}


_profile = PROFILES[0]
_numbers = itertools.count()
_shared: dict[Path, OnServers] = {}


def choose(profile: str) -> None:
    """What data directories stand for from now on."""
    global _profile  # noqa: PLW0603 - a choice of the whole run
    _profile = profile


def place_of(data_dir: Path) -> Place:
    """The installation that a data directory stands for; the same directory is always the same one."""
    if _profile == "embedded":
        return OnDisk(data_dir)
    if data_dir not in _shared:
        _shared[data_dir] = OnServers(shared_postgres(), shared_server(), f"place-{next(_numbers)}")
    return _shared[data_dir]
