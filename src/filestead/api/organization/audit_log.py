"""GET /v1/organization/audit_logs: its query and its shapes."""

import json
import re
from typing import Any

from filestead.api.http.errors import bad_request
from filestead.api.http.json_body import require_bounds
from filestead.api.http.messages import Request
from filestead.api.http.query import parse_integer, parse_limit, parse_query
from filestead.api.openapi import query_parameter
from filestead.domain.audit.events import ID_PREFIX, EventPage, Filters, RecordedEvent, event_id
from filestead.domain.errors import ItemCursorNotFound
from filestead.wire import audit_log as wire

MAX_LIMIT = 100
MAX_VALUES = 100
"""Values of one filter."""
MAX_CHARACTERS = 256
"""Of one value."""
MAX_TIME = 2**63 - 1

CURSOR = re.compile(re.escape(ID_PREFIX) + "[0-7][0-9a-f]{15}")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
BOUNDS = ("gt", "gte", "lt", "lte")

_TEXT: dict[str, Any] = {
    "type": "string",
    "maxLength": MAX_CHARACTERS,
    "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
}
_TEXTS: dict[str, Any] = {"type": "array", "maxItems": MAX_VALUES, "items": _TEXT}
_TIME: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": MAX_TIME}
PARAMETERS: list[dict[str, Any]] = [
    {
        **query_parameter(
            "effective_at",
            {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(BOUNDS, _TIME)},
            "Only events within this time, in Unix seconds.",
        ),
        "style": "deepObject",
        "explode": True,
    },
    query_parameter("project_ids[]", _TEXTS, "Only events of these projects."),
    query_parameter("event_types[]", _TEXTS, "Only events of these types."),
    query_parameter("actor_ids[]", _TEXTS, "Only events of these keys and service accounts."),
    query_parameter("actor_emails[]", _TEXTS, "Users have no addresses here: nothing is found."),
    query_parameter("resource_ids[]", _TEXTS, "Only events about these resources."),
    query_parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 20}, "Events on a page."
    ),
    query_parameter("after", _TEXT, "The id behind which the page starts: older events."),
    query_parameter("before", _TEXT, "The id before which the page ends: newer events."),
]


def parse_page(request: Request) -> tuple[int | None, int | None, int]:
    """Parse the cursors `after` and `before`, as places in the chain, and the limit.

    Raises `ApiError` (400), and `ItemCursorNotFound` for what is no id of an event.
    """
    query = parse_query(request, ("after", "before", "limit"))
    places: list[int | None] = []
    for name in ("after", "before"):
        text = query.get(name)
        if not text:
            places.append(None)
            continue
        _require_text(name, text)
        if not CURSOR.fullmatch(text):
            raise ItemCursorNotFound(name, text)
        places.append(int(text.removeprefix(ID_PREFIX), 16))
    return places[0], places[1], parse_limit(query.get("limit"), default=20, maximum=MAX_LIMIT)


def parse_filters(request: Request) -> Filters:
    """Parse the filters. Raises `ApiError` (400)."""
    names = tuple(f"effective_at[{bound}]" for bound in BOUNDS)
    query = parse_query(request, names)
    times = {bound: _time(name, query[name]) for bound, name in zip(BOUNDS, names, strict=True) if name in query}
    lower = [times[bound] + shift for bound, shift in (("gt", 0), ("gte", -1)) if bound in times]
    upper = [times[bound] + shift for bound, shift in (("lt", 0), ("lte", 1)) if bound in times]
    return Filters(
        after_time=max(lower, default=None),
        before_time=min(*upper, MAX_TIME) if upper else None,
        types=_texts(request, "event_types"),
        projects=_texts(request, "project_ids"),
        actors=() if _texts(request, "actor_emails") else _texts(request, "actor_ids"),
        resources=_texts(request, "resource_ids"),
    )


def _time(name: str, text: str) -> int:
    value = parse_integer(text, name, name)
    require_bounds(name, value, 0, MAX_TIME, "integer")
    return value


def _texts(request: Request, name: str) -> list[str] | None:
    """The values of a list, which official clients write with brackets; None if there are none."""
    values = [value for found, value in request.query if found in (name, f"{name}[]")]
    if len(values) > MAX_VALUES:
        raise bad_request(f"'{name}' has more than {MAX_VALUES} values", name)
    for value in values:
        _require_text(name, value)
    return values or None


def _require_text(name: str, value: str) -> None:
    if CONTROL.search(value):
        raise bad_request(f"'{name}' has control characters", name)
    if len(value) > MAX_CHARACTERS:
        raise bad_request(f"'{name}' has a value of more than {MAX_CHARACTERS} characters", name)


def page_to_wire(page: EventPage) -> wire.ListAuditLogs:
    """Build a page."""
    data = [_to_wire(event, name) for event, name in page.events]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return wire.ListAuditLogs(data=data, first_id=first, last_id=last, has_more=page.has_more)


def _to_wire(event: RecordedEvent, project_name: str | None) -> wire.AuditLog:
    assert event.sequence is not None, "only sealed events are listed"
    project = None if event.project_id is None else wire.AuditLogProject(id=event.project_id, name=project_name)
    data = None if event.data is None else json.loads(event.data)
    details = wire.AuditLogDetails(id=event.resource_id, data=data)
    member = wire.EVENT_TYPES.get(event.type)
    return wire.AuditLog(
        id=event_id(event.sequence),
        type=event.type,
        effective_at=event.effective_at,
        project=project,
        actor=_actor(event),
        **({} if member is None else {member: details}),
    )


def _actor(event: RecordedEvent) -> wire.AuditLogActor | None:
    if event.key_id is None and event.address is None:
        return None
    key = wire.AuditLogApiKey(id=event.key_id, service_account=wire.AuditLogServiceAccount(id=event.user_id))
    return wire.AuditLogActor(api_key=key, ip_address=event.address, request_id=event.request_id)
