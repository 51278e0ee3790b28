"""The OpenAPI 3.1 document, composed from the operations. Schemas are made from the shapes in `wire`."""

import re
from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any

import msgspec

from filestead import __version__, wire
from filestead.api.http.json_body import MAX_KEY_CHARACTERS, MAX_PAIRS, MAX_VALUE_CHARACTERS
from filestead.api.http.routing import JSON, PUBLIC, Operation
from filestead.wire.audit_log import EVENT_TYPES

REQUEST_ID = {"x-request-id": {"schema": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"}, "required": True}}

CONNECTION_ERRORS = (400, 408, 414, 431, 503)
"""Responses to a request that is rejected before routing: malformed, too slow, too large, or one too many."""

AUTHENTICATED_ERRORS = (401, 429, 500)

PREFIXES = {
    "vector_store_id": {"pattern": "^vs_"},
    "batch_id": {"pattern": "^vsfb_"},
    "file_id": {"pattern": "^file"},
    "upload_id": {"pattern": "^upload_"},
}
"""Of ids in paths."""

OPTIONAL = {("Upload", "file"), *(("AuditLog", name) for name in EVENT_TYPES)}
"""Members of responses that may be absent."""

Schemas = Mapping[type, Mapping[str, Any]]
"""Shapes to describe; of each, the properties that the type alone does not describe."""


def json_response(description: str, schema: type | dict[str, Any], **headers: Any) -> dict[str, Any]:
    """Describe a response with a JSON body: a shape of `wire`, or a schema."""
    if isinstance(schema, type):
        schema = {"$ref": f"#/components/schemas/{schema.__name__}"}
    return {
        "description": description,
        "headers": {**REQUEST_ID, **headers},
        "content": {JSON: {"schema": schema}},
    }


def query_parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    """Describe an optional query parameter."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


NO_NUL = "^[^\\u0000]*$"
TEXT: dict[str, Any] = {"type": "string", "pattern": NO_NUL}
NULL: dict[str, Any] = {"type": "null"}


def closed_object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Describe an object with exactly these members."""
    return {
        "type": "object",
        "additionalProperties": False,
        # A member that is null counts as absent.
        "properties": {
            name: schema if name in required or schema == NULL else {"anyOf": [schema, NULL]}
            for name, schema in properties.items()
        },
        **({"required": list(required)} if required else {}),
    }


METADATA: dict[str, Any] = {
    "type": "object",
    "maxProperties": MAX_PAIRS,
    "propertyNames": {**TEXT, "maxLength": MAX_KEY_CHARACTERS},
    "additionalProperties": {**TEXT, "maxLength": MAX_VALUE_CHARACTERS},
}


def json_request(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """Describe a body in JSON."""
    return {"required": required, "content": {JSON: {"schema": schema}}}


def build_document(
    operations: Collection[Operation[Any]], schemas: Schemas, requests: Mapping[str, dict[str, Any]]
) -> bytes:
    """Compose the document and encode it as JSON. `requests` are schemas of parts of requests, by name."""
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Filestead",
            "version": __version__,
            "description": "The OpenAI Files API, self-hosted. docs/compatibility.md says what differs and why.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": {path: _path_item(path, list(rows)) for path, rows in groupby(operations, lambda row: row.path)},
        "components": {
            "schemas": {**_components(schemas), **requests},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": json_response("Any failure.", wire.ErrorBody)},
        },
    }
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def _components(schemas: Schemas) -> dict[str, Any]:
    """Describe the shapes. Responses contain exactly the listed properties, and all of them but the optional ones."""
    _, components = msgspec.json.schema_components(
        [*schemas, wire.ErrorBody], ref_template="#/components/schemas/{name}"
    )
    for name, component in components.items():
        component["additionalProperties"] = False
        if name != "ErrorBody":  # its `detail` is missing in a 401
            component["required"] = [each for each in component["properties"] if (name, each) not in OPTIONAL]
    components["ErrorBody"]["properties"]["detail"] = {"$ref": "#/components/schemas/ErrorDetail"}
    for shape, properties in schemas.items():
        components[shape.__name__]["properties"].update(properties)
    return components


def _path_item(path: str, operations: list[Operation[Any]]) -> dict[str, Any]:
    """Describe a path: the parameters in its template and those common to all operations, then each operation."""
    names = re.findall(r"\{(\w+)\}", path)
    # Elsewhere an id without its prefix is merely unknown.
    required = PREFIXES if names[:1] in (["vector_store_id"], ["upload_id"]) else {}
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", **required.get(name, {})}}
        for name in names
    ]
    common = [item for item in operations[0].parameters if all(item in row.parameters for row in operations)]
    methods = {row.method.lower(): _operation(row, common) for row in operations}
    parameters = [*in_path, *common]
    return {"parameters": parameters, **methods} if parameters else methods


def _operation(operation: Operation[Any], common: list[dict[str, Any]]) -> dict[str, Any]:
    public = operation.access == PUBLIC
    errors = sorted({*operation.errors, *CONNECTION_ERRORS, *(() if public else AUTHENTICATED_ERRORS)})
    parameters = [item for item in operation.parameters if item not in common]
    return {
        "summary": operation.summary,
        "operationId": operation.operation_id,
        "tags": [operation.tag],
        **({"security": []} if public else {}),
        "responses": {
            **{str(status): response for status, response in operation.responses.items()},
            **{str(status): {"$ref": "#/components/responses/Error"} for status in errors},
        },
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": operation.request_body} if operation.request_body else {}),
    }
