"""Multipart uploads that were begun and never finished: which there are, and how they go. These functions block."""

import html
import http.client
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from filestead.blobs.s3_signing import Signer
from filestead.domain.errors import StorageFailed, StoreUnavailable

SECONDS = 5
"""How long each step of a request may take."""

PAGE = "1000"
MAX_ANSWER = 4 * 1024 * 1024
UPLOAD = re.compile(r"<Upload>.*?</Upload>", re.DOTALL)


class Upload(NamedTuple):
    """One that has not ended."""

    key: str
    id: str
    begun: str
    """As the store writes it: in UTC, `2026-01-31T23:59:59` and what follows."""


def unfinished(signer: Signer, prefix: str) -> Iterator[Upload]:
    """Every unfinished upload below `prefix`, also those under way."""
    query = {"uploads": "", "prefix": prefix, "max-uploads": PAGE}
    while True:
        page = _send(signer, "GET", "", query)
        for upload in UPLOAD.findall(page):
            yield Upload(*(_element(upload, name) for name in ("Key", "UploadId", "Initiated")))
        if _element(page, "IsTruncated") != "true":
            return
        query["key-marker"] = _element(page, "NextKeyMarker")
        query["upload-id-marker"] = _element(page, "NextUploadIdMarker")


def abort(signer: Signer, key: str) -> int:
    """Throw away every unfinished upload to `key`, with its parts; returns how many there were."""
    return _abort(signer, [upload for upload in unfinished(signer, key) if upload.key == key])


def abort_old(signer: Signer, prefix: str, age: timedelta) -> int:
    """Throw away every unfinished upload below `prefix` that was begun so long ago; returns how many there were."""
    limit = f"{datetime.now(UTC) - age:%Y-%m-%dT%H:%M:%S}"
    return _abort(signer, [upload for upload in unfinished(signer, prefix) if "" < upload.begun < limit])


def _abort(signer: Signer, uploads: list[Upload]) -> int:
    for upload in uploads:
        _send(signer, "DELETE", upload.key, {"uploadId": upload.id})
    return len(uploads)


def _element(text: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


def _send(signer: Signer, method: str, key: str, query: Mapping[str, str]) -> str:
    url = urlsplit(signer.url(method, key, query, seconds=60))
    connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = connect(url.hostname or "", url.port, timeout=SECONDS)
    try:
        connection.request(method, f"{url.path}?{url.query}")
        answer = connection.getresponse()
        body = answer.read(MAX_ANSWER).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        raise StoreUnavailable("unfinished uploads: the object store does not answer") from None
    finally:
        connection.close()
    if answer.status >= 500:
        raise StoreUnavailable(f"unfinished uploads: the object store failed ({answer.status})")
    if answer.status >= 400 and answer.status != 404:  # gone meanwhile is as good
        raise StorageFailed(f"unfinished uploads: the object store refused ({answer.status})")
    return body
