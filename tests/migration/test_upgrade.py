"""An installation that an earlier version left behind is served by this one, with everything that is in it."""

import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from filestead.blobs.keys import new_key
from filestead.blobs.local.store import LocalBlobs
from filestead.database import schema
from filestead.database.engines.sqlite import connect
from filestead.installation import DATABASE, new_id
from tests.migration.older import CREATED_AT, INSTALLATION, OLDER, REVISIONS, fill, migrate_to
from tests.support.servers import KEY, Server, run_command

pytestmark = pytest.mark.anyio

CONTENTS = [b"", b"an old file", b"x" * 300_000]


async def leave_behind(data_dir: Path, revision: str) -> dict[str, bytes]:
    """An installation at a migration, with files; returns their contents by id."""
    data_dir.mkdir(mode=0o700)
    store = LocalBlobs(data_dir, reserve_bytes=0)
    store.open(INSTALLATION, fresh=True)
    rows = {}
    for content in CONTENTS:
        key = new_key()

        async def chunks(content: bytes = content) -> AsyncIterator[bytes]:
            yield content

        await store.put(key, chunks())
        rows[new_id("file-")] = (key, content, hashlib.sha256(content).hexdigest())
    store.close()
    with contextlib.closing(connect(data_dir / DATABASE, time.time)) as connection:
        migrate_to(connection, revision)
        assert schema.current_version(connection) == revision
        fill(connection, KEY, rows)
    return {file_id: content for file_id, (_, content, _) in rows.items()}


def test_migrations_are_numbered_in_order() -> None:
    assert OLDER[0] == "0001"
    assert sorted(REVISIONS) == REVISIONS, "versions are compared as text"
    assert REVISIONS[-1] == schema.HEAD


@pytest.mark.parametrize("revision", OLDER)
async def test_an_older_installation_is_upgraded_and_used(tmp_path: Path, revision: str) -> None:
    data_dir = tmp_path / "data"
    old = await leave_behind(data_dir, revision)
    # The key is the installation's own: nothing is added to what was there.
    with Server(data_dir, key=None) as server:
        server.client.headers["authorization"] = f"Bearer {KEY}"
        listed = server.client.get("/files").json()["data"]
        assert {file["id"] for file in listed} == set(old)
        assert {file["created_at"] for file in listed} == {CREATED_AT}
        for file_id, content in old.items():
            assert server.client.get(f"/files/{file_id}/content").content == content
        once = {"headers": {"Idempotency-Key": "first"}, "data": {"purpose": "vision"}, "files": {"file": ("a", b"a")}}
        made, again = server.client.post("/files", **once), server.client.post("/files", **once)
        assert (made.status_code, again.json()) == (200, made.json())
        for file_id in old:
            assert server.client.delete(f"/files/{file_id}").status_code == 200
            assert server.client.get("/files", params={"after": file_id}).status_code == 200
        assert [file["id"] for file in server.client.get("/files").json()["data"]] == [made.json()["id"]]
    done = run_command(data_dir, "verify", "--deep")
    assert done.returncode == 0, done.stdout + done.stderr
    with contextlib.closing(connect(data_dir / DATABASE, time.time)) as connection:
        assert schema.current_version(connection) == schema.HEAD
