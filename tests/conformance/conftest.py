"""The stores under test. A new backend joins the suite by a new parameter of these fixtures; the tests never ask which."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from filestead.blobs.local import LocalBlobs
from filestead.domain.model import DEFAULT_SCOPES, Principal
from filestead.domain.stores import BlobStore, FileRecords, KeyRecords
from filestead.installation import new_id
from filestead.metadata import schema
from filestead.metadata.files import SqlFileRecords
from filestead.metadata.keys import SqlKeyRecords
from filestead.metadata.sqlite import SqliteDatabase, connect


@dataclass
class Clock:
    """The database's clock, in the test's hand."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Rows:
    """The record stores over one database, and the clock it goes by."""

    files: FileRecords
    keys: KeyRecords
    clock: Clock
    principals: dict[str, Principal] = field(default_factory=dict)

    async def principal(self, project: str = "one", *, organization: str = "default", user: str = "ada") -> Principal:
        """A principal of the named project; the same name gives the same principal."""
        name = f"{organization}/{project}/{user}"
        if name not in self.principals:
            await self.keys.create(
                key_id=f"key_{name}",
                digest=name,
                hint="",
                organization=organization,
                project=project,
                user=user,
                scopes=DEFAULT_SCOPES,
                expires_after_seconds=None,
            )
            found = await self.keys.find(name)
            assert found is not None
            self.principals[name] = found
        return self.principals[name]


@pytest.fixture(params=["sqlite"])
async def rows(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rows]:
    clock = Clock()
    path = tmp_path / "rows.db"
    connection = connect(path, clock)
    schema.upgrade(connection)
    connection.close()
    database = SqliteDatabase(path, clock)
    yield Rows(SqlFileRecords(database), SqlKeyRecords(database, new_id), clock)
    database.close()


@pytest.fixture(params=["local"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    store = LocalBlobs(tmp_path, reserve_bytes=0)
    store.open("inst-test", fresh=True)
    yield store
    store.close()
