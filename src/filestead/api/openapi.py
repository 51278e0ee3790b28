"""Our own description of what we serve, OpenAPI 3.1, published at /openapi.json. The shapes come from `wire`."""

import functools
from typing import Any

import msgspec

from filestead import __version__, wire
from filestead.api.http.errors import IDEMPOTENCY_KEY_HEADER
from filestead.domain.files import expiry
from filestead.domain.files.purposes import ALL_PURPOSES, INPUT_PURPOSES

FILE_ID = {"name": "file_id", "in": "path", "required": True, "schema": {"type": "string"}}
REQUEST_ID = {"x-request-id": {"schema": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"}, "required": True}}
KEY_PATTERN = "^[!-~]{1,255}$"
STATUS = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}

ABOUT = {"$ref": "#/components/schemas/About"}

REPLAYED = {
    "idempotent-replayed": {
        "schema": {"const": "true"},
        "description": "The file was made by an earlier upload with this Idempotency-Key.",
    }
}

CONNECTION = (400, 408, 414, 431, 503)
"""How any request may be refused before it is routed: its head is no HTTP, too slow, too large, or one too many."""


@functools.cache
def document() -> bytes:
    """The description as JSON."""
    shapes = [wire.FileObject, wire.ListFilesResponse, wire.FileDeleted, wire.ErrorBody, wire.About]
    _, schemas = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    for name in ("FileObject", "ListFilesResponse", "FileDeleted", "Error", "ErrorDetail", "About"):
        _close(schemas[name])
    schemas["FileObject"]["properties"]["purpose"] = {"enum": list(ALL_PURPOSES)}
    schemas["FileObject"]["properties"]["status"] = {"enum": ["uploaded", "processed", "error"]}
    schemas["ErrorBody"]["properties"]["detail"] = {"$ref": "#/components/schemas/ErrorDetail"}
    schemas["ErrorBody"]["additionalProperties"] = False
    description = {
        "openapi": "3.1.0",
        "info": {
            "title": "Filestead",
            "version": __version__,
            "description": "The OpenAI Files API, self-hosted. docs/compatibility.md says what differs and why.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": _json("Any failure.", "ErrorBody")},
        },
    }
    return msgspec.json.format(msgspec.json.encode(description)) + b"\n"


def _close(schema: dict[str, Any]) -> None:
    """Answers hold exactly these members, all of them."""
    schema["additionalProperties"] = False
    schema["required"] = list(schema["properties"])


def _json(description: str, schema: str, **headers: Any) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {**REQUEST_ID, **headers},
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _operation(summary: str, operation_id: str, good: dict[str, Any], *failures: int, **rest: Any) -> dict[str, Any]:
    responses = {**good, **_failures(*failures, *CONNECTION, 401, 429, 500)}
    return {"summary": summary, "operationId": operation_id, "tags": ["Files"], "responses": responses, **rest}


def _failures(*statuses: int) -> dict[str, Any]:
    return {str(status): {"$ref": "#/components/responses/Error"} for status in sorted(statuses)}


def _paths() -> dict[str, Any]:
    return {
        "/v1/files": {
            "get": _operation(
                "List files",
                "listFiles",
                {"200": _json("A page of files.", "ListFilesResponse")},
                404,
                parameters=_list_query(),
            ),
            "post": _operation(
                "Upload a file",
                "createFile",
                {"200": _json("The file.", "FileObject", **REPLAYED)},
                *(415, 507),
                parameters=[_idempotency_key()],
                requestBody=_form(),
            ),
        },
        "/v1/files/{file_id}": {
            "parameters": [FILE_ID],
            "get": _operation("Retrieve a file", "retrieveFile", {"200": _json("The file.", "FileObject")}, 404),
            "delete": _operation("Delete a file", "deleteFile", {"200": _json("Deleted.", "FileDeleted")}, 404),
        },
        "/v1/files/{file_id}/content": {
            "parameters": [FILE_ID, *_conditions()],
            "get": _operation(
                "Download the content",
                "downloadFile",
                {
                    "200": _bytes("The content."),
                    "206": _bytes("The asked range."),
                    "304": {"description": "Unchanged.", "headers": REQUEST_ID},
                },
                *(404, 412, 416),
            ),
        },
        "/": {"get": _public("What this server is", "about", ABOUT)},
        "/v1": {"get": _public("What this server is", "aboutV1", ABOUT)},
        "/health": {"get": _public("The process answers", "health", STATUS)},
        "/health/ready": {"get": _public("Uploads can be taken", "ready", STATUS)},
        "/openapi.json": {"get": _public("This description", "description", {"type": "object"})},
    }


def _idempotency_key() -> dict[str, Any]:
    return {
        "name": IDEMPOTENCY_KEY_HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "pattern": KEY_PATTERN},
        "description": (
            "Names this upload and its repetitions. For 24 hours the same key with the same form gives the file that "
            "the first upload made; with another form, or once that file is gone, the upload is refused."
        ),
    }


def _list_query() -> list[dict[str, Any]]:
    return [
        _query("purpose", {"enum": ["", *ALL_PURPOSES]}, "Only files of this purpose; empty means all."),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 10_000}, "Files on a page."),
        _query("order", {"enum": ["asc", "desc"], "default": "desc"}, "By `created_at`."),
        _query("after", {"type": "string"}, "The id behind which the page starts; empty means the beginning."),
    ]


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _conditions() -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in ("Range", "If-Range", "If-Match", "If-None-Match")
    ]


def _form() -> dict[str, Any]:
    seconds = {"type": "integer", "minimum": expiry.MIN_SECONDS, "maximum": expiry.MAX_SECONDS}
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["file", "purpose"],
        "properties": {
            "file": {"type": "string", "contentMediaType": "application/octet-stream"},
            "purpose": {
                "enum": list(INPUT_PURPOSES),
                "description": "A key with the scope `files:system` may also set the output purposes.",
            },
            "expires_after[anchor]": {"enum": ["created_at"]},
            "expires_after[seconds]": seconds,
        },
        "dependentRequired": {
            "expires_after[anchor]": ["expires_after[seconds]"],
            "expires_after[seconds]": ["expires_after[anchor]"],
        },
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _bytes(description: str) -> dict[str, Any]:
    return {"description": description, "headers": REQUEST_ID, "content": {"application/octet-stream": {}}}


def _public(summary: str, operation_id: str, schema: dict[str, Any]) -> dict[str, Any]:
    good = {"description": "Yes.", "headers": REQUEST_ID, "content": {"application/json": {"schema": schema}}}
    return {
        "summary": summary,
        "operationId": operation_id,
        "tags": ["Operations"],
        "security": [],
        "responses": {"200": good, **_failures(*CONNECTION)},
    }
