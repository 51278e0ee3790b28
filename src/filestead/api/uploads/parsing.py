"""Requests on uploads as objects of the domain."""

import base64
import binascii
import re
from collections.abc import Sequence

from filestead.api.http.errors import bad_request
from filestead.api.http.json_body import JsonObject
from filestead.domain.files.model import ExpiresAfter
from filestead.domain.uploads.model import MAX_PARTS
from filestead.domain.uploads.service import UploadForm

MD5_HEX = "^[0-9A-Fa-f]{32}$"
MD5_BASE64 = "^[0-9A-Za-z+/]{22}==$"
MAX_SECONDS = 2**53


def new_upload(body: JsonObject, max_bytes: int) -> UploadForm:
    """Parse an upload to create. The media type may be any text, and is not kept."""
    size = body.integer("bytes", 0, max_bytes, required=True)
    assert size is not None
    body.string("mime_type", required=True)
    form = UploadForm(body.required_string("filename"), body.required_string("purpose"), size, _expires_after(body))
    body.finish()
    return form


def _expires_after(body: JsonObject) -> ExpiresAfter | None:
    policy = body.object("expires_after")
    if policy is None:
        return None
    expires_after = ExpiresAfter(policy.string("anchor"), policy.integer("seconds", -MAX_SECONDS, MAX_SECONDS))
    policy.finish()
    return expires_after


def completion(body: JsonObject) -> tuple[Sequence[str], str | None]:
    """Parse the list of parts and the MD5 that their content must have, if any, in hexadecimal."""
    part_ids = body.strings("part_ids", 0, MAX_PARTS)
    if part_ids is None:
        body.value("part_ids", required=True)
    md5 = body.string("md5")
    body.finish()
    return part_ids or [], None if md5 is None else _md5(md5)


def _md5(text: str) -> str:
    """The official description leaves the form open, so hexadecimal and base64 are both understood."""
    if re.fullmatch(MD5_HEX, text):
        return text.lower()
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise bad_request(
            "Invalid 'md5': expected a checksum of 16 bytes as 32 hexadecimal digits or in base64.",
            "md5",
            "invalid_value",
        )
    return digest.hex()
