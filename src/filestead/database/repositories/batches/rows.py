"""Rows of batches as objects of the domain, and the conditions that find them."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam

from filestead.database.tables import batches
from filestead.domain.batches.model import Batch, BatchError, BatchStatus, Parallelism, Pause, RequestCounts, TokenUsage

table = batches.c

TOKEN_COLUMNS = (
    table.input_tokens,
    table.cached_tokens,
    table.output_tokens,
    table.reasoning_tokens,
    table.total_tokens,
)
"""In the order of the fields of `TokenUsage`."""

_BEFORE_COUNTS = (
    *(table.id, table.project_id, table.endpoint, table.model, table.errors, table.input_file_id),
    *(table.completion_window, table.status, table.output_file_id, table.error_file_id, table.created_at),
    *(table.in_progress_at, table.expires_at, table.finalizing_at, table.completed_at, table.failed_at),
    *(table.expired_at, table.cancelling_at, table.cancelled_at),
)
"""Named as the fields of `Batch`."""

COUNT_COLUMNS = (table.total, table.completed, table.failed)
BATCH_COLUMNS = (
    *(*_BEFORE_COUNTS, *COUNT_COLUMNS, *TOKEN_COLUMNS, table.metadata),
    *(table.lines_per_second, table.pauses, table.lines_in_flight, table.line_limit),
)


def in_project() -> Any:
    """The condition that a batch has the id and belongs to the project."""
    return and_(table.id == bindparam("id"), table.project_id == bindparam("project_id"))


def to_batch(row: Sequence[Any]) -> Batch:
    """A row of `BATCH_COLUMNS`."""
    number = len(_BEFORE_COUNTS)
    first, counts, usage = row[:number], row[number : number + 3], row[number + 3 : number + 8]
    metadata, lines_per_second, pauses, in_flight, limit = row[number + 8 :]
    values = dict(zip((column.name for column in _BEFORE_COUNTS), first, strict=True))
    values["errors"] = decode_errors(values["errors"])
    values["status"] = BatchStatus(values["status"])
    return Batch(
        **values,
        counts=RequestCounts(*counts),
        usage=TokenUsage(*usage),
        metadata=None if metadata is None else json.loads(metadata),
        lines_per_second=lines_per_second,
        pauses=decode_pauses(pauses),
        parallelism=None if in_flight is None else Parallelism(in_flight, limit),
    )


def encode_errors(errors: Sequence[BatchError]) -> str:
    """JSON for the column `errors`."""
    return json.dumps([[each.code, each.message, each.line, each.param] for each in errors], ensure_ascii=False)


def encode_pauses(pauses: Sequence[Pause]) -> str | None:
    """JSON for the column `pauses`; None without any."""
    return json.dumps(pauses, ensure_ascii=False) if pauses else None


def decode_pauses(text: str | None) -> tuple[Pause, ...]:
    """The pauses of a batch."""
    return () if text is None else tuple(Pause(*each) for each in json.loads(text))


def decode_errors(text: str | None) -> tuple[BatchError, ...]:
    """The errors of a batch; empty unless its validation failed."""
    return () if text is None else tuple(BatchError(*each) for each in json.loads(text))
