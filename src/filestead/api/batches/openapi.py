"""What the OpenAPI document says of batches."""

from typing import Any

from filestead.api.batches import parsing
from filestead.api.batches.shapes import ETA_HEADER, PAUSED_HEADER, STATUS_HEADER
from filestead.api.http import idempotency
from filestead.api.openapi import (
    METADATA,
    REQUEST_ID,
    TEXT,
    Schemas,
    closed_object,
    json_request,
    query_parameter,
)
from filestead.domain.batches.model import BatchStatus
from filestead.domain.jsonl.batch import BATCH_ENDPOINTS
from filestead.wire import batches as wire

STATUSES = [status.value for status in BatchStatus]

SCHEMAS: Schemas = {wire.Batch: {"status": {"enum": STATUSES}}, wire.ListBatches: {}}

LIST_PARAMETERS = [
    query_parameter(
        "limit",
        {"type": "integer", "minimum": 0, "maximum": parsing.MAX_LIMIT, "default": 20},
        "Batches on a page, newest first; 0 gives an empty page.",
    ),
    query_parameter("after", {"type": "string"}, "The id behind which the page starts; empty means the beginning."),
]

IDEMPOTENCY_KEY = {
    **idempotency.PARAMETER,
    "description": "Names this request and its repetitions: the same key with the same request gives the same batch.",
}

NEW_BATCH = json_request(
    closed_object(
        {
            "input_file_id": TEXT,
            "endpoint": {"enum": list(BATCH_ENDPOINTS)},
            "completion_window": {"enum": ["24h"], "description": "Also what `FILESTEAD_BATCH_WINDOWS` names."},
            "metadata": METADATA,
            "output_expires_after": closed_object(
                {
                    "anchor": {"enum": ["created_at"]},
                    "seconds": {
                        "type": "integer",
                        "minimum": parsing.MIN_LIFETIME_SECONDS,
                        "maximum": parsing.MAX_LIFETIME_SECONDS,
                    },
                },
                "anchor",
                "seconds",
            ),
        },
        "input_file_id",
        "endpoint",
        "completion_window",
    )
)

ETA = {
    ETA_HEADER: {
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "description": "Seconds that the batch will probably still take, while it runs.",
    },
    PAUSED_HEADER: {
        "schema": {"type": "string"},
        "description": "Why a running batch sends no lines now, or none to some of its model servers.",
    },
}
_HEADERS = {
    **REQUEST_ID,
    STATUS_HEADER: {"schema": {"enum": STATUSES}, "required": True, "description": "The status of the batch."},
}
_LINES = {"headers": _HEADERS, "content": {"application/octet-stream": {}}}

RESULTS: dict[int, dict[str, Any]] = {
    200: {"description": "Whole lines, so far.", **_LINES},
    206: {"description": "Whole lines of the asked range; its length is `*` while the batch runs.", **_LINES},
    204: {"description": "Nothing new so far.", "headers": _HEADERS},
    304: {"description": "Unchanged.", "headers": _HEADERS},
}
RESULT_PARAMETERS: list[dict[str, Any]] = [
    query_parameter(
        "wait",
        {"type": "integer", "minimum": 0, "maximum": parsing.MAX_WAIT_SECONDS, "default": 0},
        "Seconds to wait for more than there is at the beginning of `Range`.",
    ),
    *(
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in ("Range", "If-Range", "If-Match", "If-None-Match")
    ),
]
