"""The requests of the batch commands beyond one object: a batch as they need it, and how they wait for its end."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from filestead.cli.client.connection import StatusError
from filestead.cli.errors import CommandError
from filestead.cli.terminal.escaping import escape_line
from filestead.cli.terminal.streams import warn
from filestead.client._transport.requests import Request, escape_path_segment
from filestead.client._transport.session import Session
from filestead.client.errors import APIConnectionError

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
LINES_FAILED, BATCH_FAILED = 4, 5
"""Exit statuses: some lines failed; the batch failed, expired or was cancelled."""
OUTAGE_TIMEOUT = 600
"""Seconds without a response after which waiting ends. The batch itself goes on."""
_LONGEST_POLL = 5.0
_REPORTED = 20


@dataclass(frozen=True, slots=True)
class BatchView:
    """What the commands read of a batch. Members of another type than expected count as absent."""

    text: str
    """The response."""
    id: str
    status: str
    total: int
    completed: int
    failed: int
    output_file_id: str | None
    error_file_id: str | None
    errors: tuple[str, ...]
    """What validation found, one sentence each."""
    seconds_left: float | None
    """As the server estimates; only Filestead does."""
    paused: str | None = None
    """Why model servers receive no requests now; only Filestead says it."""

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self.status in ENDED


def path_of(batch_id: str, rest: str = "") -> str:
    """The path of a batch."""
    return f"/batches/{escape_path_segment(batch_id)}{rest}"


def fetch(session: Session, request: Request) -> BatchView:
    """Send a request whose response is a batch. Raises `StatusError`."""
    with contextlib.closing(session.send(request)) as response:
        data = response.read()
        if response.head.status >= 400:
            raise StatusError(request.method, response.head, data)
        headers = response.head.headers
        view = parse(data.decode("utf-8", "surrogateescape"), headers.get("x-filestead-batch-eta"))
        return replace(view, paused=headers.get("x-filestead-batch-paused"))


def parse(text: str, seconds_left: str | None = None) -> BatchView:
    """Read a batch from a response. Raises `CommandError` if it is none."""
    try:
        batch = json.loads(text)
    except ValueError:
        batch = None
    if not isinstance(batch, dict) or not isinstance(batch.get("id"), str) or not isinstance(batch.get("status"), str):
        raise CommandError("the response is not a batch; check that --base-url (OPENAI_BASE_URL) ends in /v1")
    counts = _mapping(batch.get("request_counts"))
    found = _mapping(batch.get("errors")).get("data")
    return BatchView(
        text=text,
        id=batch["id"],
        status=batch["status"],
        total=_count(counts.get("total")),
        completed=_count(counts.get("completed")),
        failed=_count(counts.get("failed")),
        output_file_id=_text(batch.get("output_file_id")),
        error_file_id=_text(batch.get("error_file_id")),
        errors=tuple(_describe(_mapping(error)) for error in found) if isinstance(found, list) else (),
        seconds_left=_seconds(seconds_left),
    )


def wait_for_end(session: Session, batch_id: str, report: Callable[[BatchView], None]) -> BatchView:
    """Retrieve the batch until it has ended. A server that is away for less than `OUTAGE_TIMEOUT` is waited for."""
    interval, last_response, away = 0.5, time.monotonic(), False
    while True:
        try:
            batch = fetch(session, Request("GET", path_of(batch_id)))
        except (APIConnectionError, StatusError) as error:
            if not _may_recover(error) or time.monotonic() - last_response > OUTAGE_TIMEOUT:
                raise
            if not away:
                warn(f"{escape_line(str(error))}; waiting for the server")
            away = True
        else:
            last_response, away = time.monotonic(), False
            report(batch)
            if batch.ended:
                return batch
        time.sleep(interval)
        interval = min(interval * 1.5, _LONGEST_POLL)


def require_success(batch: BatchView) -> None:
    """Raise `CommandError` with the exit status that an ended batch stands for, unless every line succeeded."""
    if batch.status != "completed":
        reasons = [f"\n  {escape_line(error)}" for error in batch.errors[:_REPORTED]]
        if len(batch.errors) > _REPORTED:
            reasons.append(f"\n  and {len(batch.errors) - _REPORTED} more")
        done = f", with {batch.completed} of {batch.total} lines done" if batch.total else ""
        sentence = {"expired": f"has expired{done}", "cancelled": f"was cancelled{done}"}.get(batch.status, "failed")
        raise CommandError(f"{escape_line(batch.id)} {sentence}{''.join(reasons)}", exit_status=BATCH_FAILED)
    if batch.failed:
        raise CommandError(f"{batch.failed} of {batch.total} lines failed", exit_status=LINES_FAILED)


def _may_recover(error: APIConnectionError | StatusError) -> bool:
    return isinstance(error, APIConnectionError) or error.status == 429 or error.status >= 500


def _describe(error: dict[str, Any]) -> str:
    line = error.get("line")
    where = f"line {line}: " if isinstance(line, int) else ""
    return f"{where}{error.get('code')}: {error.get('message')}"


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if type(value) is int else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.replace(".", "", 1).isdecimal() else None
