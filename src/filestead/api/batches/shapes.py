"""Batches as shapes of the wire."""

import math
from collections.abc import Sequence

from filestead.domain.batches.model import TERMINAL, Batch, BatchError, BatchStatus, TokenUsage
from filestead.wire import batches as wire

ETA_HEADER = "x-filestead-batch-eta"
PARALLELISM_HEADER = "x-filestead-batch-parallelism"
PAUSED_HEADER = "x-filestead-batch-paused"
STATUS_HEADER = "x-filestead-batch-status"


def batch_to_wire(batch: Batch) -> wire.Batch:
    """Build a batch. Recorded batches have no usage until they end."""
    usage = batch.usage if batch.status in TERMINAL else TokenUsage()
    return wire.Batch(
        id=batch.id,
        endpoint=batch.endpoint,
        model=batch.model,
        errors=_errors_to_wire(batch.errors) if batch.errors else None,
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=batch.status.value,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=batch.created_at,
        in_progress_at=batch.in_progress_at,
        expires_at=batch.expires_at,
        finalizing_at=batch.finalizing_at,
        completed_at=batch.completed_at,
        failed_at=batch.failed_at,
        expired_at=batch.expired_at,
        cancelling_at=batch.cancelling_at,
        cancelled_at=batch.cancelled_at,
        request_counts=wire.RequestCounts(batch.counts.total, batch.counts.completed, batch.counts.failed),
        usage=_usage_to_wire(usage),
        metadata=None if batch.metadata is None else dict(batch.metadata),
    )


def page_to_wire(batches: Sequence[Batch], *, has_more: bool) -> wire.ListBatches:
    """Build a page of batches."""
    data = [batch_to_wire(batch) for batch in batches]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return wire.ListBatches(data=data, first_id=first, last_id=last, has_more=has_more)


def eta_headers(batch: Batch) -> dict[str, str]:
    """Build the header with the seconds that a running batch will probably take; none without a rate."""
    if batch.status is not BatchStatus.IN_PROGRESS or not batch.lines_per_second:
        return {}
    left = batch.counts.total - batch.counts.completed - batch.counts.failed
    return {ETA_HEADER: str(math.ceil(left / batch.lines_per_second))}


def paused_headers(batch: Batch) -> dict[str, str]:
    """Build the header that says why a batch sends no lines now, or none to some model servers."""
    reasons = [f"{each.upstream or each.model or 'batch'}: {each.reason}" for each in batch.pauses]
    text = "".join(char if " " <= char <= "~" else "?" for char in "; ".join(reasons))
    return {PAUSED_HEADER: text} if reasons else {}


def parallelism_headers(batch: Batch) -> dict[str, str]:
    """Build the header with the lines in flight of a running batch, and the limit of its model servers."""
    if batch.status is not BatchStatus.IN_PROGRESS or batch.parallelism is None:
        return {}
    return {PARALLELISM_HEADER: f"in_flight={batch.parallelism.in_flight}, limit={batch.parallelism.limit}"}


def _errors_to_wire(errors: Sequence[BatchError]) -> wire.BatchErrors:
    return wire.BatchErrors(
        data=[wire.BatchError(error.code, error.line, error.message, error.param) for error in errors]
    )


def _usage_to_wire(usage: TokenUsage) -> wire.BatchUsage:
    return wire.BatchUsage(
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        wire.InputTokensDetails(usage.cached_tokens),
        wire.OutputTokensDetails(usage.reasoning_tokens),
    )
