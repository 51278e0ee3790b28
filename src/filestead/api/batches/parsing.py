"""Requests on batches as objects of the domain, with the limits that the official description states."""

from collections.abc import Sequence

from filestead.api.http.json_body import JsonObject, require_bounds
from filestead.api.http.messages import Request
from filestead.api.http.query import parse_integer, parse_query
from filestead.domain.batches.service import NewBatchForm
from filestead.domain.jsonl.batch import BATCH_ENDPOINTS

MAX_LIMIT = 100
MIN_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS = 3_600, 2_592_000
MAX_WAIT_SECONDS = 60


def new_batch(body: JsonObject, windows: Sequence[str]) -> NewBatchForm:
    """Parse a batch to create. `windows` are the completion windows that there are."""
    form = NewBatchForm(
        body.required_string("input_file_id"),
        str(body.string("endpoint", required=True, choices=BATCH_ENDPOINTS)),
        str(body.string("completion_window", required=True, choices=windows)),
        None if body.value("metadata") is None else body.pairs("metadata", only_strings=True),
        _output_lifetime(body),
    )
    body.finish()
    return form


def _output_lifetime(body: JsonObject) -> int | None:
    """Parse `output_expires_after`; None without one."""
    policy = body.object("output_expires_after")
    if policy is None:
        return None
    policy.string("anchor", required=True, choices=("created_at",))
    seconds = policy.integer("seconds", MIN_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS, required=True)
    policy.finish()
    return seconds


def page(request: Request) -> tuple[str | None, int]:
    """Parse `after` and `limit` of a listing; 0 asks for an empty page."""
    query = parse_query(request, ("after", "limit"))
    return query.get("after") or None, _integer(query.get("limit"), "limit", default=20, maximum=MAX_LIMIT)


def wait_seconds(request: Request) -> int:
    """Parse `wait`, in seconds."""
    query = parse_query(request, ("wait",))
    return _integer(query.get("wait"), "wait", default=0, maximum=MAX_WAIT_SECONDS)


def _integer(text: str | None, name: str, *, default: int, maximum: int) -> int:
    if text is None:
        return default
    number = parse_integer(text, name, name)
    require_bounds(name, number, 0, maximum, "integer")
    return number
