"""Checks of batches, of their results so far, and of events for the webhook."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select

from filestead.database.repositories.checks.check import REPORT, Check
from filestead.database.tables import batch_results, batches, blobs, files, jobs, webhook_events
from filestead.domain.batches.model import TERMINAL, BatchStatus
from filestead.domain.integrity import Violation

table, results = batches.c, batch_results.c


def _has_ended() -> ColumnElement[bool]:
    return or_(*(table.status == status.value for status in sorted(TERMINAL)))


def batch_checks() -> list[Check]:
    """Of batches and events."""
    has_ended = _has_ended()
    has_job = exists().where(jobs.c.kind == "batch", jobs.c.subject == table.id)
    has_blob = exists().where(blobs.c.key == table.input_blob_key)
    lines = table.completed + table.failed
    return [
        Check(
            "I-27",
            "A",
            "the batch has not ended, but there is no job that runs it",
            REPORT,
            select(table.id).where(~has_ended, ~has_job),
        ),
        Check(
            "I-28",
            "A",
            "the content of the input that the batch needs is gone, or is kept although the batch has ended",
            REPORT,
            select(table.id).where(table.input_blob_key.is_not(None), or_(has_ended, ~has_blob)),
        ),
        Check(
            "I-29",
            "A",
            "the counts of the batch do not go together",
            REPORT,
            select(table.id).where(
                or_(lines > table.total, and_(table.status == BatchStatus.COMPLETED.value, lines != table.total))
            ),
        ),
        Check(
            "I-30",
            "A",
            "a file of results has not the size of the results",
            REPORT,
            select(table.id)
            .join(files, or_(files.c.id == table.output_file_id, files.c.id == table.error_file_id))
            .where(
                or_(
                    and_(files.c.id == table.output_file_id, files.c.bytes != table.output_size),
                    and_(files.c.id == table.error_file_id, files.c.bytes != table.error_size),
                )
            ),
        ),
        Check(
            "I-32",
            "B",
            "the event was not delivered to the webhook, and there is no job that delivers it",
            REPORT,
            select(webhook_events.c.id).where(
                ~exists().where(jobs.c.kind == "webhook", jobs.c.subject == webhook_events.c.id)
            ),
        ),
    ]


def journals() -> Select[Any]:
    """The blocks of the journals of batches that have not ended, with what the rows of the batches say.

    One statement, so that a group of results that comes meanwhile is seen with its counts or not at all.
    """
    has_ended = _has_ended()
    return (
        select(
            *(table.id, table.completed, table.failed, table.output_size, table.error_size, table.bytes_reserved),
            *(results.kind, func.length(results.data), results.lines),
        )
        .outerjoin(batch_results, results.batch == table.seq)
        .where(~has_ended)
    )


def find_journal_violations(blocks: Iterable[Sequence[Any]]) -> list[Violation]:
    """Batches whose journal is not what their row says: a line twice, or other sizes or numbers of lines."""
    found: dict[str, tuple[Any, ...]] = {}
    sizes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    lines: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
    for batch_id, *columns, kind, size, packed in blocks:
        found[batch_id] = tuple(columns)
        if kind is not None:
            sizes[batch_id][kind] += size
            lines[batch_id].frombytes(bytes(packed))
    violations = []
    for batch_id, (completed, failed, output, error, reserved) in found.items():
        numbers, size = lines[batch_id], sizes[batch_id]
        is_whole = (size["output"], size["error"]) == (output, error) and reserved >= output + error
        if not is_whole or len(set(numbers)) < len(numbers) or completed + failed > len(numbers):
            sentence = "the results so far are not what the row of the batch says"
            violations.append(Violation("I-31", "A", batch_id, sentence, REPORT))
    return violations
