"""Requests as values: one function per operation, and the escaping of paths and queries (as Go's net/url does)."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from filestead.client._upload.multipart import FilePart, Form, TextField
from filestead.client._upload.sources import AsyncSource, Source
from filestead.client.config import OnProgress

JSON = "application/json"
MEDIA_TYPE = "application/octet-stream"

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is not tied to a server: `path` is relative to the base URL and already escaped.

    A body of bytes is JSON. A request is sent only once if it is not `retryable`, or if a file cannot be read twice.
    """

    method: str
    path: str
    query: Pairs = ()
    headers: Pairs = ()
    body: bytes | Form | None = None
    retryable: bool = True
    retries_disconnects: bool = True
    """False if the caller goes on in another way after a broken connection."""

    @property
    def target(self) -> str:
        """Path and query, as in the request line."""
        path = "/" + self.path.lstrip("/")
        return f"{path}?{encode_query(self.query)}" if self.query else path


def escape_path_segment(text: str) -> str:
    """One segment of a path, as Go's `url.PathEscape`; the segments `.` and `..` are escaped too."""
    if text in {".", ".."}:
        return text.replace(".", "%2E")
    return quote(text, safe="$&+=:@", errors="surrogateescape")


def encode_query(pairs: Pairs) -> str:
    """A query in the given order, as Go's `url.Values`: all but letters, digits and `-_.~` is escaped."""
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)


def create_file(
    source: Source | AsyncSource,
    purpose: str,
    *,
    expires_after: int | Mapping[str, object] | None = None,
    filename: str | None = None,
    on_progress: OnProgress | None = None,
) -> Request:
    """POST /files. The file is the last part, so that a server can reject the fields before it reads the file."""
    fields = [TextField("purpose", purpose), *_expiry_fields(expires_after)]
    file = FilePart("file", source, filename, on_progress=on_progress)
    # The key makes a retry safe after an attempt that stored the file and whose response was lost.
    headers = (("Idempotency-Key", os.urandom(16).hex()),) if source.rewindable else ()
    return Request("POST", "/files", headers=headers, body=(*fields, file))


def _expiry_fields(expires_after: int | Mapping[str, object] | None) -> list[TextField]:
    if expires_after is None:
        return []
    if isinstance(expires_after, int):
        expires_after = {"anchor": "created_at", "seconds": expires_after}
    return [TextField(f"expires_after[{name}]", str(expires_after[name])) for name in sorted(expires_after)]


def create_upload(
    filename: str, size: int, purpose: object, *, expires_after: int | Mapping[str, object] | None = None
) -> Request:
    """POST /uploads: begin an upload in parts of `size` bytes in all."""
    if isinstance(expires_after, int):
        expires_after = {"anchor": "created_at", "seconds": expires_after}
    policy = {} if expires_after is None else {"expires_after": dict(expires_after)}
    members = {"bytes": size, "filename": filename, "mime_type": MEDIA_TYPE, "purpose": purpose, **policy}
    return _json_request("/uploads", members)


def create_part(
    upload_id: str,
    source: Source | AsyncSource,
    key: str,
    *,
    on_progress: OnProgress | None = None,
    repeated: bool = False,
) -> Request:
    """POST /uploads/{upload_id}/parts. A `repeated` part may be stored already, and is then not stored again.

    `key` names the part within its upload: servers that know it give each part one id, however often it is sent.
    """
    data = FilePart("data", source, "part", on_progress=on_progress)
    retried = (("x-stainless-retry-count", "1"),) if repeated else ()
    headers = (("Idempotency-Key", key), *retried)
    return Request("POST", f"/uploads/{escape_path_segment(upload_id)}/parts", headers=headers, body=(data,))


def complete_upload(upload_id: str, part_ids: Sequence[str]) -> Request:
    """POST /uploads/{upload_id}/complete, with the parts in the order of the file."""
    return _json_request(f"/uploads/{escape_path_segment(upload_id)}/complete", {"part_ids": list(part_ids)})


def cancel_upload(upload_id: str) -> Request:
    """POST /uploads/{upload_id}/cancel."""
    return Request("POST", f"/uploads/{escape_path_segment(upload_id)}/cancel")


def _json_request(path: str, members: Mapping[str, object]) -> Request:
    return Request("POST", path, body=json.dumps(members, separators=(",", ":")).encode())


def list_files(
    *, purpose: str | None = None, limit: int | None = None, order: str | None = None, after: str | None = None
) -> Request:
    """GET /files; None is not sent, and parameters are in alphabetical order."""
    query = {"after": after, "limit": limit, "order": order, "purpose": purpose}
    return Request("GET", "/files", tuple((name, str(value)) for name, value in query.items() if value is not None))


def retrieve_file(file_id: str) -> Request:
    """GET /files/{file_id}."""
    return Request("GET", _path_of_file(file_id))


def delete_file(file_id: str) -> Request:
    """DELETE /files/{file_id}."""
    return Request("DELETE", _path_of_file(file_id))


def file_content(file_id: str, headers: Pairs = ()) -> Request:
    """GET /files/{file_id}/content, without a content coding: a range of encoded bytes cannot be resumed."""
    identity = (("Accept", "application/binary"), ("Accept-Encoding", "identity"))
    return Request("GET", _path_of_file(file_id) + "/content", headers=(*identity, *headers))


def _path_of_file(file_id: str) -> str:
    """The path of a file. Raises `ValueError` for an empty id, which would be the path of the list."""
    if not file_id:
        raise ValueError(f"Expected a non-empty value for file_id but received {file_id!r}")
    return "/files/" + escape_path_segment(file_id)
