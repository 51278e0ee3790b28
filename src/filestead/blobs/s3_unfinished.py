"""Multipart uploads that were begun and never finished: which there are, and how they go. These functions block."""

import html
import http.client
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from filestead.blobs.s3_signing import Signer
from filestead.domain.errors import StorageFailed, StoreUnavailable

SECONDS = 5
"""How long each step of a request may take."""

PAGE = "1000"
MAX_ANSWER = 4 * 1024 * 1024
UPLOAD = re.compile(r"<Upload>.*?</Upload>", re.DOTALL)


def unfinished(signer: Signer, prefix: str) -> Iterator[tuple[str, str]]:
    """Key and upload id of every unfinished upload below `prefix`, also of those under way."""
    query = {"uploads": "", "prefix": prefix, "max-uploads": PAGE}
    while True:
        page = _send(signer, "GET", "", query)
        for upload in UPLOAD.findall(page):
            yield _element(upload, "Key"), _element(upload, "UploadId")
        if _element(page, "IsTruncated") != "true":
            return
        query["key-marker"] = _element(page, "NextKeyMarker")
        query["upload-id-marker"] = _element(page, "NextUploadIdMarker")


def abort(signer: Signer, key: str) -> int:
    """Throw away every unfinished upload to `key`, with its parts; returns how many there were."""
    uploads = [upload_id for name, upload_id in unfinished(signer, key) if name == key]
    for upload_id in uploads:
        _send(signer, "DELETE", key, {"uploadId": upload_id})
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
