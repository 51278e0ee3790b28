"""Requests as values: what each operation sends, and how paths and queries are escaped (as Go's net/url does)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from filestead.client._upload.multipart import FilePart, Form, Progress, TextField
from filestead.client._upload.sources import AsyncSource, Source

JSON = "application/json"
IDEMPOTENCY_KEY = "Idempotency-Key"

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is not tied to a server: `path` is relative to the base URL and already escaped.

    A body of bytes is JSON. `retryable` False sends it once; so goes any form whose file cannot be read twice.
    """

    method: str
    path: str
    query: Pairs = ()
    headers: Pairs = ()
    body: bytes | Form | None = None
    retryable: bool = True

    @property
    def target(self) -> str:
        """Path and query."""
        path = "/" + self.path.lstrip("/")
        return f"{path}?{encode_query(self.query)}" if self.query else path


def path_segment(text: str) -> str:
    """One segment of a path, as Go's `url.PathEscape`; dots that would mean "here" or "up" are escaped too."""
    if text in {".", ".."}:
        return text.replace(".", "%2E")
    return quote(text, safe="$&+=:@", errors="surrogateescape")


def encode_query(pairs: Pairs) -> str:
    """A query in the given order, as Go's `url.Values`: everything but letters, digits and `-_.~` is escaped."""
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)


def create_file(
    source: Source | AsyncSource,
    purpose: str,
    *,
    expires_after: int | Mapping[str, object] | None = None,
    filename: str | None = None,
    on_progress: Progress | None = None,
) -> Request:
    """POST /files. The file goes last, so that a server can refuse the fields before it has read the bytes."""
    fields = [TextField("purpose", purpose), *_expiry(expires_after)]
    file = FilePart("file", source, filename, on_progress=on_progress)
    # The key makes a retry safe: the answer of a try that was stored may have been lost on its way.
    headers = ((IDEMPOTENCY_KEY, os.urandom(16).hex()),) if source.rewindable else ()
    return Request("POST", "/files", headers=headers, body=(*fields, file))


def _expiry(expires_after: int | Mapping[str, object] | None) -> list[TextField]:
    if expires_after is None:
        return []
    if isinstance(expires_after, int):
        expires_after = {"anchor": "created_at", "seconds": expires_after}
    return [TextField(f"expires_after[{name}]", str(expires_after[name])) for name in sorted(expires_after)]


def list_files(
    *, purpose: str | None = None, limit: int | None = None, order: str | None = None, after: str | None = None
) -> Request:
    """GET /files; what is None is not sent, and keys are in the order of the alphabet."""
    query = {"after": after, "limit": limit, "order": order, "purpose": purpose}
    return Request("GET", "/files", tuple((name, str(value)) for name, value in query.items() if value is not None))


def retrieve_file(file_id: str) -> Request:
    """GET /files/{file_id}."""
    return Request("GET", file_path(file_id))


def delete_file(file_id: str) -> Request:
    """DELETE /files/{file_id}."""
    return Request("DELETE", file_path(file_id))


def file_content(file_id: str, headers: Pairs = ()) -> Request:
    """GET /files/{file_id}/content. Bytes are asked for as they are: a range of compressed bytes resumes nothing."""
    plain = (("Accept", "application/binary"), ("Accept-Encoding", "identity"))
    return Request("GET", file_path(file_id) + "/content", headers=(*plain, *headers))


def file_path(file_id: str) -> str:
    """The path of a file. Raises `ValueError` for an empty id, which would address the list."""
    if not file_id:
        raise ValueError(f"Expected a non-empty value for file_id but received {file_id!r}")
    return "/files/" + path_segment(file_id)
