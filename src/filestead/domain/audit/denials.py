"""Denials of access: counted, and merged into few events, so that an attacker cannot fill the disk.

Equal denials within a period become one event with their count. A process keeps at most `MAX_KINDS` different ones and
records at most `MAX_EVENTS` a period; the rest is counted in one event for each reason.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from filestead.domain.audit.events import AuditLog, Event, EventType, Origin

PERIOD_SECONDS = 10.0
MAX_KINDS = 1_000
MAX_EVENTS = 32
MAX_ID_CHARACTERS = 64

WRONG_KEY, MISSING_SCOPE, FOREIGN_ID, NOT_FOUND = "wrong_key", "missing_scope", "foreign_id", "not_found"


@dataclass(frozen=True, slots=True)
class Denial:
    """A request that was denied: why, to whom, and what it named."""

    reason: str
    address: str | None
    key_id: str | None = None
    user_id: str | None = None
    project_id: str | None = None
    organization_id: str | None = None
    detail: str | None = None
    """The scope that was missing, or the kind of the resource."""
    resource_id: str | None = None


class DenialCounter:
    """Counts denials in memory, for `flush`."""

    def __init__(self) -> None:
        self._counts: Counter[Denial] = Counter()
        self._others: Counter[str] = Counter()

    def add(self, denial: Denial) -> None:
        """Count one."""
        if denial in self._counts or len(self._counts) < MAX_KINDS:
            self._counts[denial] += 1
        else:
            self._others[denial.reason] += 1

    async def flush(self, log: AuditLog) -> None:
        """Record what was counted since the last call. What cannot be recorded is counted again."""
        counts, others = self._counts, self._others
        if not counts and not others:
            return
        self._counts, self._others = Counter(), Counter()
        try:
            await log.record(await _events(log, counts, others))
        except BaseException:
            for denial, count in counts.items():
                if denial in self._counts or len(self._counts) < MAX_KINDS:
                    self._counts[denial] += count
                else:
                    others[denial.reason] += count
            self._others += others
            raise


async def _events(
    log: AuditLog, counts: Counter[Denial], others: Counter[str]
) -> Sequence[tuple[Origin | None, Event]]:
    suspects: dict[str, set[str]] = {}
    for denial in counts:
        if denial.reason == FOREIGN_ID:
            suspects.setdefault(str(denial.detail), set()).add(str(denial.resource_id))
    owners = await log.foreign(suspects) if suspects else {}
    found: list[tuple[Denial, int]] = []
    others = others.copy()
    # What was not looked up may have been foreign.
    others[NOT_FOUND] += others.pop(FOREIGN_ID, 0)
    for denial, count in counts.most_common():
        if denial.reason == FOREIGN_ID and str(denial.resource_id) not in owners:
            continue  # the id of nothing: no access was denied
        if len(found) < MAX_EVENTS:
            found.append((denial, count))
        else:
            others[denial.reason] += count
    events = [_event(denial, count, owners) for denial, count in found]
    events += [
        (None, Event(EventType.ACCESS_DENIED, None, data={"reason": reason, "count": count, "merged": True}))
        for reason, count in others.items()
        if count
    ]
    return events


def _event(denial: Denial, count: int, owners: dict[str, tuple[str, str]]) -> tuple[Origin | None, Event]:
    organization_id, project_id = denial.organization_id, denial.project_id
    data: dict[str, object] = {"reason": denial.reason, "count": count}
    if denial.reason == FOREIGN_ID:
        data["kind"] = denial.detail
        if owners[str(denial.resource_id)][1] != organization_id:
            # An administrator must not learn here which ids exist in other organizations.
            organization_id = project_id = None
    elif denial.detail is not None:
        data["scope"] = denial.detail
    event = Event(EventType.ACCESS_DENIED, denial.resource_id, project_id, data, organization_id)
    return Origin(denial.key_id, denial.user_id, None, denial.address), event
