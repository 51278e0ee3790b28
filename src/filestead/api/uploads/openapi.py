"""What the OpenAPI document says of uploads in parts."""

from typing import Any

from filestead.api.http import idempotency
from filestead.api.http.routing import JSON
from filestead.api.openapi import Schemas
from filestead.api.uploads import parsing
from filestead.domain.files import expiry, filenames
from filestead.domain.files.purposes import ALL_PURPOSES, INPUT_PURPOSES
from filestead.domain.uploads.model import MAX_PARTS, UploadStatus
from filestead.wire import uploads as wire

SCHEMAS: Schemas = {
    wire.Upload: {"purpose": {"enum": list(ALL_PURPOSES)}, "status": {"enum": [each.value for each in UploadStatus]}},
    wire.UploadPart: {},
}

NO_NUL = "^[^\\u0000]*$"
NULL: dict[str, Any] = {"type": "null"}

_EXPIRES_AFTER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["anchor", "seconds"],
    "properties": {
        "anchor": {"enum": ["created_at"]},
        "seconds": {"type": "integer", "minimum": expiry.MIN_SECONDS, "maximum": expiry.MAX_SECONDS},
    },
}

_NEW_UPLOAD = {
    "type": "object",
    "additionalProperties": False,
    "required": ["filename", "purpose", "bytes", "mime_type"],
    "properties": {
        "filename": {"type": "string", "minLength": 1, "maxLength": filenames.MAX_CHARACTERS},
        "purpose": {
            "enum": list(INPUT_PURPOSES),
            "description": "A key with the scope `files:system` may also set the output purposes.",
        },
        "bytes": {
            "type": "integer",
            "minimum": 0,
            "maximum": 8 * 1024**3,
            "description": "At most `max_upload_bytes` of the configuration, which may be less.",
        },
        "mime_type": {"type": "string", "pattern": NO_NUL, "description": "Any text; it is not kept."},
        "expires_after": {"anyOf": [_EXPIRES_AFTER, NULL]},
    },
}

_COMPLETION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["part_ids"],
    "properties": {
        "part_ids": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MAX_PARTS,
            "description": "In the order of their bytes in the file.",
        },
        "md5": {
            "anyOf": [
                {"type": "string", "pattern": parsing.MD5_HEX},
                {"type": "string", "pattern": parsing.MD5_BASE64},
                NULL,
            ]
        },
    },
}

_PART_FORM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["data"],
    "properties": {"data": {"type": "string", "minLength": 1, "contentMediaType": "application/octet-stream"}},
}


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema}}}


NEW_UPLOAD = _body(JSON, _NEW_UPLOAD)
COMPLETION = _body(JSON, _COMPLETION)
PART_FORM = _body("multipart/form-data", _PART_FORM)

PART_PARAMETERS: list[dict[str, Any]] = [
    {
        **idempotency.PARAMETER,
        "description": (
            "Names this part of the upload and its repetitions: the same key with the same bytes gives the same part; "
            "with other bytes it is refused."
        ),
    },
    {
        "name": "X-Stainless-Retry-Count",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": (
            "A number above 0 says that the part is sent again: bytes that an earlier part of the upload has already "
            "do not count twice. The official clients send it. With an `Idempotency-Key` it says nothing."
        ),
    },
]
