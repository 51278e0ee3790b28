"""Incomplete multipart uploads: listing and aborting them. These functions block.

Each call is bounded in time whatever the store sends, and a list also in its number of pages.
"""

import html
import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from filestead.blobs.s3.signing import Signer
from filestead.domain.errors import BlobStoreUnavailable, StorageFailed
from filestead.egress import Egress

REQUEST_SECONDS = 5.0
"""For one request, and for aborting all uploads to one object."""

LIST_SECONDS = 300.0
MAX_PAGES = 1_000
PAGE_SIZE = "1000"
MAX_RESPONSE_BYTES = 4 * 1024 * 1024
OPERATION = "incomplete uploads"


class IncompleteUpload(NamedTuple):
    """An upload that was neither completed nor aborted."""

    key: str
    id: str
    initiated: str
    """As sent by the store: UTC, beginning with `2026-01-31T23:59:59`."""


class IncompleteUploads:
    """The incomplete uploads of one bucket."""

    def __init__(self, signer: Signer, egress: Egress) -> None:
        self._signer = signer
        self._egress = egress

    def pages(self, prefix: str, seconds: float = LIST_SECONDS) -> Iterator[list[IncompleteUpload]]:
        """All incomplete uploads below `prefix`, including those in progress; one request per page."""
        deadline = time.monotonic() + seconds
        query = {"uploads": "", "prefix": prefix, "max-uploads": PAGE_SIZE}
        seen: set[tuple[str, str]] = set()
        while True:
            text = self._send("GET", "", query, deadline)
            yield [
                IncompleteUpload(*(_element(upload, name) for name in ("Key", "UploadId", "Initiated")))
                for upload in text.split("<Upload>")[1:]
            ]
            if _element(text, "IsTruncated") != "true":
                return
            marker = _element(text, "NextKeyMarker"), _element(text, "NextUploadIdMarker")
            seen.add(marker)
            if len(seen) >= MAX_PAGES or marker == (query.get("key-marker"), query.get("upload-id-marker")):
                raise StorageFailed(f"{OPERATION}: the object store's list does not end")
            query["key-marker"], query["upload-id-marker"] = marker

    def abort(self, key: str) -> int:
        """Abort all incomplete uploads to the object `key`; returns how many there were."""
        return self._abort(key, lambda upload: upload.key == key, REQUEST_SECONDS)

    def abort_older_than(self, age: timedelta, prefix: str) -> int:
        """Abort all incomplete uploads below `prefix` that are older than `age`; returns how many there were."""
        limit = f"{datetime.now(UTC) - age:%Y-%m-%dT%H:%M:%S}"
        return self._abort(prefix, lambda upload: "" < upload.initiated < limit, 2 * REQUEST_SECONDS)

    def _abort(self, prefix: str, matches: Callable[[IncompleteUpload], bool], seconds: float) -> int:
        deadline = time.monotonic() + seconds
        uploads = [upload for page in self.pages(prefix, seconds) for upload in page if matches(upload)]
        for upload in uploads:
            self._send("DELETE", upload.key, {"uploadId": upload.id}, deadline)
        return len(uploads)

    def _send(self, method: str, key: str, query: Mapping[str, str], deadline: float) -> str:
        url = self._signer.url(method, key, query, seconds=60)
        left = min(REQUEST_SECONDS, deadline - time.monotonic())
        if left <= 0:
            raise BlobStoreUnavailable(f"{OPERATION}: the object store did not respond in time")
        parts = urlsplit(url)
        try:
            with self._egress.http_connection(url, left) as (connection, is_expired):
                connection.request(method, f"{parts.path}?{parts.query}")
                response = connection.getresponse()
                body = response.read(MAX_RESPONSE_BYTES).decode(errors="replace")
                if response.length or is_expired():
                    raise http.client.IncompleteRead(b"", response.length)
        except (OSError, ValueError, http.client.HTTPException):
            raise BlobStoreUnavailable(f"{OPERATION}: the object store does not respond") from None
        if response.status >= 500:
            raise BlobStoreUnavailable(f"{OPERATION}: the object store failed ({response.status})")
        if response.status >= 300 and response.status != 404:  # aborted or completed in the meantime
            raise StorageFailed(f"{OPERATION}: the object store rejected the request ({response.status})")
        return body


def _element(text: str, name: str) -> str:
    """The content of the first element of this name, found in linear time."""
    value, end, _ = text.partition(f"<{name}>")[2].partition(f"</{name}>")
    return html.unescape(value) if end else ""
