"""What makes two forms the same, and what an upload without a key costs: nothing."""

from pathlib import Path
from typing import Any

import pytest

from filestead.database import schema
from filestead.database.engines.sqlite import SqliteDatabase, connect
from filestead.domain.files import idempotency
from filestead.domain.files.model import ExpiresAfter, IdempotencyRecord, UploadForm
from filestead.domain.quota import Quota
from tests.conformance.test_idempotency import begin, completed
from tests.support.databases import Clock, over

FORM: dict[str, Any] = {"filename": "a.txt", "form": UploadForm("vision", None), "size": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [
        {"filename": "b.txt"},
        {"size": 2},
        {"sha256": "1" * 64},
        {"form": UploadForm("user_data", None)},
        {"form": UploadForm("vision", ExpiresAfter("created_at", 3600))},
        {"filename": 'a.txt", "vision'},
    ],
)
def test_each_part_of_the_form_counts(change: dict[str, Any]) -> None:
    fingerprint = idempotency.fingerprint_of(**FORM)
    assert fingerprint == idempotency.fingerprint_of(**FORM)
    assert fingerprint != idempotency.fingerprint_of(**{**FORM, **change})


def test_two_expiries_differ() -> None:
    one, two = (UploadForm("vision", ExpiresAfter("created_at", seconds)) for seconds in (3600, 3601))
    assert len({idempotency.fingerprint_of(**{**FORM, "form": form}) for form in (one, two)}) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("key", [None, "k"])
async def test_only_an_upload_with_a_key_asks_for_keys(tmp_path: Path, key: str | None) -> None:
    clock = Clock()
    connection = connect(tmp_path / "rows.db", clock)
    schema.upgrade(connection)
    connection.close()
    database = SqliteDatabase(tmp_path / "rows.db", clock)
    try:
        rows = over(database, clock)
        who = await rows.principal()
        statements: list[str] = []
        await database.write(lambda writer: writer.set_trace_callback(statements.append))  # type: ignore[attr-defined]
        blob_key = await begin(rows, who, key=key)
        idempotency = IdempotencyRecord(key, "form", 60) if key else None
        await rows.files.publish(completed(who, blob_key, "form", idempotency=idempotency), quota=Quota(None, None))
    finally:
        database.close()
    assert len(statements) > 5
    assert any("idempotency_keys" in statement for statement in statements) == (key is not None)
