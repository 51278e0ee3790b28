"""What the OpenAPI document says of vector stores."""

from typing import Any

from filestead.api.http.routing import JSON
from filestead.api.openapi import Schemas, query_parameter
from filestead.api.vector_stores import parsing
from filestead.api.vector_stores.handlers import STATUSES
from filestead.domain.vector_stores.filters import MAX_COMPARISONS, MAX_DEPTH, MAX_LIST
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

NO_NUL = "[^\\u0000]*$"
TEXT: dict[str, Any] = {"type": "string", "pattern": f"^{NO_NUL}"}
EXPIRES_AFTER: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "required": ["anchor", "days"],
    "properties": {
        "anchor": {"enum": ["last_active_at"]},
        "days": {"type": "integer", "minimum": 1, "maximum": parsing.MAX_EXPIRY_DAYS},
    },
}
METADATA: dict[str, Any] = {
    "type": ["object", "null"],
    "maxProperties": 16,
    "propertyNames": {"maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 512},
}
ATTRIBUTES: dict[str, Any] = {
    **METADATA,
    "additionalProperties": {"oneOf": [{"type": "string", "maxLength": 512}, {"type": "number"}, {"type": "boolean"}]},
}
CHUNKING: dict[str, Any] = {
    "oneOf": [
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["type"],
            "properties": {"type": {"const": "auto"}},
        },
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["type", "static"],
            "properties": {
                "type": {"const": "static"},
                "static": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["max_chunk_size_tokens", "chunk_overlap_tokens"],
                    "properties": {
                        "max_chunk_size_tokens": {
                            "type": "integer",
                            "minimum": parsing.MIN_CHUNK_TOKENS,
                            "maximum": parsing.MAX_CHUNK_TOKENS,
                        },
                        "chunk_overlap_tokens": {"type": "integer", "minimum": 0},
                    },
                },
            },
        },
    ]
}
FILE_ID = {"type": "string", "pattern": f"^file{NO_NUL}"}
_NEW_FILE = {"file_id": FILE_ID, "chunking_strategy": CHUNKING, "attributes": ATTRIBUTES}

_VALUES = {
    "type": "array",
    "maxItems": MAX_LIST,
    "items": {"anyOf": [{"type": "string"}, {"type": "number"}]},
}
FILTER: dict[str, Any] = {"$ref": "#/components/schemas/Filter"}
COMPONENTS: dict[str, dict[str, Any]] = {
    "Filter": {
        "description": f"A comparison, or a compound of filters: {MAX_COMPARISONS} comparisons, {MAX_DEPTH} levels.",
        "oneOf": [
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["type", "key", "value"],
                "properties": {"type": {"enum": types}, "key": {"type": "string"}, "value": value},
            }
            for types, value in (
                (
                    ["eq", "ne", "gt", "gte", "lt", "lte"],
                    {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]},
                ),
                (["in", "nin"], _VALUES),
            )
        ]
        + [
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["type", "filters"],
                "properties": {
                    "type": {"enum": ["and", "or"]},
                    "filters": {"type": "array", "minItems": 1, "items": FILTER},
                },
            }
        ],
    }
}


def _object(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    """Describe an object with these members. A member that is null counts as absent."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: schema if name in required else {"anyOf": [schema, {"type": "null"}]}
            for name, schema in properties.items()
        },
        **({"required": list(required)} if required else {}),
        **more,
    }


def _body(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {
        "required": bool(required) or bool(more),
        "content": {JSON: {"schema": _object(properties, *required, **more)}},
    }


def _only(name: str, other: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "array"}, other: {"type": "null"}}}


NEW_STORE = _body(
    {
        "file_ids": {"type": "array", "maxItems": parsing.MAX_FILES_AT_CREATION, "items": FILE_ID},
        "name": {**TEXT, "maxLength": parsing.MAX_NAME_CHARACTERS},
        "description": {**TEXT, "maxLength": parsing.MAX_DESCRIPTION_CHARACTERS},
        "expires_after": EXPIRES_AFTER,
        "chunking_strategy": CHUNKING,
        "metadata": METADATA,
    }
)
STORE_CHANGES = _body(
    {
        "name": {**TEXT, "maxLength": parsing.MAX_NAME_CHARACTERS},
        "expires_after": EXPIRES_AFTER,
        "metadata": METADATA,
    }
)
NEW_FILE = _body(_NEW_FILE, "file_id")
NEW_ATTRIBUTES = _body({"attributes": ATTRIBUTES}, "attributes")
NEW_BATCH = _body(
    {
        "file_ids": {"type": "array", "minItems": 1, "maxItems": parsing.MAX_BATCH_FILES, "items": FILE_ID},
        "files": {
            "type": "array",
            "minItems": 1,
            "maxItems": parsing.MAX_BATCH_FILES,
            "items": _object(_NEW_FILE, "file_id"),
        },
        "chunking_strategy": CHUNKING,
        "attributes": ATTRIBUTES,
    },
    oneOf=[_only("file_ids", "files"), _only("files", "file_ids")],
)
_QUERY = {"type": "string", "minLength": 1, "maxLength": parsing.MAX_QUERY_CHARACTERS}
SEARCH = _body(
    {
        "query": {
            "oneOf": [
                _QUERY,
                {"type": "array", "minItems": 1, "maxItems": parsing.MAX_QUERIES, "items": _QUERY},
            ]
        },
        "rewrite_query": {"type": "boolean"},
        "max_num_results": {"type": "integer", "minimum": 1, "maximum": parsing.MAX_RESULTS, "default": 10},
        "filters": FILTER,
        "ranking_options": _object(
            {
                "ranker": {"enum": list(parsing.RANKERS)},
                "score_threshold": {"type": "number", "minimum": 0, "maximum": 1},
            }
        ),
    },
    "query",
)
