"""What the OpenAPI document says of vector stores."""

from typing import Any

from filestead.api.http.json_body import MAX_VALUE_CHARACTERS
from filestead.api.openapi import METADATA, NULL, TEXT, Schemas, closed_object, json_request, query_parameter
from filestead.api.vector_stores import parsing
from filestead.api.vector_stores.handlers import STATUSES
from filestead.domain.vector_stores import filters
from filestead.wire import vector_stores as wire

STATUS = {"status": {"enum": list(STATUSES)}}

SCHEMAS: Schemas = {
    wire.VectorStore: {"status": {"enum": ["in_progress", "completed", "expired"]}},
    wire.VectorStoreFile: STATUS,
    wire.FileBatch: STATUS,
    wire.ListVectorStores: {},
    wire.ListVectorStoreFiles: {},
    wire.Deleted: {"object": {"enum": ["vector_store.deleted", "vector_store.file.deleted"]}},
    wire.FileContentPage: {},
    wire.SearchResultsPage: {},
}

LIST_PARAMETERS = [
    query_parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": parsing.MAX_LIMIT, "default": 20}, "Items on a page."
    ),
    query_parameter("order", {"enum": ["asc", "desc"], "default": "desc"}, "By the time of creation."),
    query_parameter("after", {"type": "string"}, "The id behind which the page starts."),
    query_parameter("before", {"type": "string"}, "The id in front of which the page ends."),
]
FILE_LIST_PARAMETERS = [
    *LIST_PARAMETERS,
    query_parameter("filter", {"enum": list(STATUSES)}, "Only files with this status."),
]

EXPIRES_AFTER = closed_object(
    {
        "anchor": {"enum": ["last_active_at"]},
        "days": {"type": "integer", "minimum": 1, "maximum": parsing.MAX_EXPIRY_DAYS},
    },
    "anchor",
    "days",
)
ATTRIBUTES: dict[str, Any] = {
    **METADATA,
    "additionalProperties": {
        "oneOf": [{**TEXT, "maxLength": MAX_VALUE_CHARACTERS}, {"type": "number"}, {"type": "boolean"}]
    },
}
CHUNKING: dict[str, Any] = {
    "oneOf": [
        closed_object({"type": {"const": "auto"}}, "type"),
        closed_object(
            {
                "type": {"const": "static"},
                "static": closed_object(
                    {
                        "max_chunk_size_tokens": {
                            "type": "integer",
                            "minimum": parsing.MIN_CHUNK_TOKENS,
                            "maximum": parsing.MAX_CHUNK_TOKENS,
                        },
                        "chunk_overlap_tokens": {
                            "type": "integer",
                            "minimum": 0,
                            "maximum": parsing.MAX_CHUNK_TOKENS // 2,
                            "description": "At most half of `max_chunk_size_tokens`.",
                        },
                    },
                    "max_chunk_size_tokens",
                    "chunk_overlap_tokens",
                ),
            },
            "type",
            "static",
        ),
    ]
}
FILE_ID = {"type": "string", "pattern": "^file"}

_SCALARS: list[dict[str, Any]] = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]
_ORDERED = {"type": {"enum": ["eq", "ne", "gt", "gte", "lt", "lte"]}, "value": {"oneOf": _SCALARS}}
_LISTS = {
    "type": {"enum": ["in", "nin"]},
    "value": {"type": "array", "maxItems": filters.MAX_LIST, "items": {"oneOf": _SCALARS[:2]}},
}
_KEY = {"key": {"type": "string"}}
_FILTER = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("ComparisonFilter", "CompoundFilter")]}
FILTERS: dict[str, dict[str, Any]] = {
    "ComparisonFilter": {
        "description": f"At most {filters.MAX_COMPARISONS} in a request.",
        "oneOf": [closed_object({**_KEY, **members}, "type", "key", "value") for members in (_ORDERED, _LISTS)],
    },
    "CompoundFilter": {
        "description": f"At most {filters.MAX_DEPTH} within one another.",
        **closed_object(
            {"type": {"enum": ["and", "or"]}, "filters": {"type": "array", "minItems": 1, "items": _FILTER}},
            "type",
            "filters",
        ),
    },
}
"""Schemas of filters, by the names under which they refer to each other."""


NEW_STORE = json_request(
    closed_object(
        {
            "file_ids": {"type": "array", "maxItems": parsing.MAX_FILES_AT_CREATION, "items": FILE_ID},
            "name": {**TEXT, "maxLength": parsing.MAX_NAME_CHARACTERS},
            "description": {**TEXT, "maxLength": parsing.MAX_DESCRIPTION_CHARACTERS},
            "expires_after": EXPIRES_AFTER,
            "chunking_strategy": CHUNKING,
            "metadata": METADATA,
        }
    ),
    required=False,
)
STORE_CHANGES = json_request(
    closed_object(
        {
            "name": {**TEXT, "maxLength": parsing.MAX_NAME_CHARACTERS},
            "expires_after": EXPIRES_AFTER,
            "metadata": METADATA,
        }
    ),
    required=False,
)
_FOR_ALL = {"chunking_strategy": CHUNKING, "attributes": ATTRIBUTES}
_NEW_FILE = closed_object({"file_id": FILE_ID, **_FOR_ALL}, "file_id")
NEW_FILE = json_request(_NEW_FILE)
NEW_ATTRIBUTES = json_request(closed_object({"attributes": {"anyOf": [ATTRIBUTES, NULL]}}, "attributes"))


def _batch(member: str, other: str, items: dict[str, Any]) -> dict[str, Any]:
    files = {"type": "array", "minItems": 1, "maxItems": parsing.MAX_BATCH_FILES, "items": items}
    return closed_object({member: files, other: NULL, **_FOR_ALL}, member)


NEW_BATCH = json_request({"oneOf": [_batch("file_ids", "files", FILE_ID), _batch("files", "file_ids", _NEW_FILE)]})
_QUERY = {"type": "string", "minLength": 1, "maxLength": parsing.MAX_QUERY_CHARACTERS}
SEARCH = json_request(
    closed_object(
        {
            "query": {
                "oneOf": [
                    _QUERY,
                    {"type": "array", "minItems": 1, "maxItems": parsing.MAX_QUERIES, "items": _QUERY},
                ]
            },
            "rewrite_query": {"type": "boolean"},
            "max_num_results": {"type": "integer", "minimum": 1, "maximum": parsing.MAX_RESULTS, "default": 10},
            "filters": _FILTER,
            "ranking_options": closed_object(
                {
                    "ranker": {"enum": list(parsing.RANKERS)},
                    "score_threshold": {"type": "number", "minimum": 0, "maximum": 1},
                }
            ),
        },
        "query",
    )
)
