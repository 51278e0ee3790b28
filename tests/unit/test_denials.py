"""Denials of access become few events, however many there are."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from filestead.domain.audit.denials import (
    FOREIGN_ID,
    MAX_EVENTS,
    MAX_KINDS,
    MISSING_SCOPE,
    NOT_FOUND,
    WRONG_KEY,
    Denial,
    DenialCounter,
)
from filestead.domain.audit.events import Event, Origin
from filestead.domain.errors import DatabaseUnavailable

pytestmark = pytest.mark.anyio

OWN = ("key_1", "user_1", "proj_1", "org-1")


class Log:
    """Keeps what is recorded; knows one id of another project, and one of another organization."""

    def __init__(self) -> None:
        self.events: list[tuple[Origin | None, Event]] = []
        self.is_away = False

    async def record(self, events: Sequence[tuple[Origin | None, Event]]) -> None:
        if self.is_away:
            raise DatabaseUnavailable("away")
        self.events += events

    async def foreign(self, suspects: Mapping[str, Collection[str]]) -> dict[str, tuple[str, str]]:
        known = {"file-near": ("proj_2", "org-1"), "file-far": ("proj_9", "org-9")}
        return {each: known[each] for ids in suspects.values() for each in ids if each in known}

    def data(self) -> list[dict[str, Any]]:
        return [json.loads(json.dumps(event.data)) for _, event in self.events]


async def flushed(*denials: Denial) -> Log:
    counter, log = DenialCounter(), Log()
    for denial in denials:
        counter.add(denial)
    await counter.flush(log)  # type: ignore[arg-type]
    return log


async def test_equal_denials_are_one_event_with_their_count() -> None:
    scope = Denial(MISSING_SCOPE, "192.0.2.1", *OWN, "admin")
    log = await flushed(*[Denial(WRONG_KEY, "192.0.2.1")] * 1_000, scope, Denial(WRONG_KEY, "192.0.2.2"))
    assert log.data() == [
        {"reason": "wrong_key", "count": 1_000},
        {"reason": "missing_scope", "count": 1, "scope": "admin"},
        {"reason": "wrong_key", "count": 1},
    ]
    origin, event = log.events[1]
    assert origin == Origin("key_1", "user_1", None, "192.0.2.1")
    assert (event.project_id, event.organization_id, event.resource_id) == ("proj_1", "org-1", None)


async def test_only_ids_that_exist_are_denied_and_other_organizations_stay_unknown() -> None:
    log = await flushed(
        *(Denial(FOREIGN_ID, "a", *OWN, "file", each) for each in ("file-none", "file-near", "file-far"))
    )
    assert [(event.resource_id, event.project_id, event.organization_id) for _, event in log.events] == [
        ("file-near", "proj_1", "org-1"),
        ("file-far", None, None),
    ]
    assert log.data() == [{"reason": "foreign_id", "count": 1, "kind": "file"}] * 2


@pytest.mark.parametrize("reason", [WRONG_KEY, MISSING_SCOPE])
async def test_many_different_denials_are_few_events_and_each_counts(reason: str) -> None:
    log = await flushed(*(Denial(reason, f"address {number}") for number in range(3 * MAX_KINDS)))
    assert len(log.events) == MAX_EVENTS + 1
    assert sum(data["count"] for data in log.data()) == 3 * MAX_KINDS
    assert log.data()[-1] == {"reason": reason, "count": 3 * MAX_KINDS - MAX_EVENTS, "merged": True}


async def test_ids_that_were_not_looked_up_are_counted() -> None:
    log = await flushed(*(Denial(FOREIGN_ID, "a", *OWN, "file", f"file-{n}") for n in range(MAX_KINDS + 5)))
    assert log.data() == [{"reason": NOT_FOUND, "count": 5, "merged": True}]


async def test_what_cannot_be_recorded_is_recorded_later_and_once() -> None:
    counter, log = DenialCounter(), Log()
    for number in range(MAX_KINDS + 7):
        counter.add(Denial(WRONG_KEY, str(number)))
    log.is_away = True
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await counter.flush(log)  # type: ignore[arg-type]
    log.is_away = False
    for _ in range(2):
        await counter.flush(log)  # type: ignore[arg-type]
    assert sum(data["count"] for data in log.data()) == MAX_KINDS + 7
