"""Multipart uploads that were begun and never finished: which there are, and how they go. These functions block.

Every call is bounded in time, whatever the store sends, and a walk through its pages in their number, too.
"""

import contextlib
import functools
import html
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from filestead.blobs.s3.signing import Signer
from filestead.domain.errors import BlobStoreUnavailable, StorageFailed
from filestead.egress import Egress, origin_of

SECONDS = 5.0
"""How long one request may take, and how long aborting the uploads to one key may."""

WALK_SECONDS = 300.0
PAGES = 1_000
PAGE = "1000"
MAX_ANSWER = 4 * 1024 * 1024
WHAT = "unfinished uploads"


class Upload(NamedTuple):
    """One that has not ended."""

    key: str
    id: str
    begun: str
    """As the store writes it: in UTC, `2026-01-31T23:59:59` and what follows."""


class Unfinished:
    """The unfinished uploads of one bucket."""

    def __init__(self, signer: Signer, egress: Egress) -> None:
        self._signer = signer
        self._egress = egress

    def pages(self, prefix: str, seconds: float = WALK_SECONDS) -> Iterator[list[Upload]]:
        """Every unfinished upload below `prefix`, also those under way; one request a page."""
        deadline = time.monotonic() + seconds
        query = {"uploads": "", "prefix": prefix, "max-uploads": PAGE}
        seen: set[tuple[str, str]] = set()
        while True:
            text = self._send("GET", "", query, deadline)
            yield [
                Upload(*(_element(upload, name) for name in ("Key", "UploadId", "Initiated")))
                for upload in text.split("<Upload>")[1:]
            ]
            if _element(text, "IsTruncated") != "true":
                return
            marker = _element(text, "NextKeyMarker"), _element(text, "NextUploadIdMarker")
            seen.add(marker)
            if len(seen) >= PAGES or marker == (query.get("key-marker"), query.get("upload-id-marker")):
                raise StorageFailed(f"{WHAT}: the object store's list does not end")
            query["key-marker"], query["upload-id-marker"] = marker

    def abort(self, key: str) -> int:
        """Throw away every unfinished upload to `key`, with its parts; returns how many there were."""
        return self._abort(key, lambda upload: upload.key == key, SECONDS)

    def abort_old(self, prefix: str, age: timedelta) -> int:
        """Throw away every unfinished upload below `prefix` begun so long ago; returns how many there were."""
        limit = f"{datetime.now(UTC) - age:%Y-%m-%dT%H:%M:%S}"
        return self._abort(prefix, lambda upload: "" < upload.begun < limit, 2 * SECONDS)

    def _abort(self, prefix: str, is_meant: Callable[[Upload], bool], seconds: float) -> int:
        deadline = time.monotonic() + seconds
        uploads = [upload for page in self.pages(prefix, seconds) for upload in page if is_meant(upload)]
        for upload in uploads:
            self._send("DELETE", upload.key, {"uploadId": upload.id}, deadline)
        return len(uploads)

    def _send(self, method: str, key: str, query: Mapping[str, str], deadline: float) -> str:
        url = self._signer.url(method, key, query, seconds=60)
        left = min(SECONDS, deadline - time.monotonic())
        if left <= 0:
            raise BlobStoreUnavailable(f"{WHAT}: the object store takes too long")
        parts = urlsplit(url)
        try:
            with _connected(self._egress, url, left) as (connection, is_cut):
                connection.request(method, f"{parts.path}?{parts.query}")
                answer = connection.getresponse()
                body = answer.read(MAX_ANSWER).decode(errors="replace")
                if answer.length or is_cut():
                    raise http.client.IncompleteRead(b"", answer.length)
        except (OSError, ValueError, http.client.HTTPException):
            raise BlobStoreUnavailable(f"{WHAT}: the object store does not answer") from None
        if answer.status >= 500:
            raise BlobStoreUnavailable(f"{WHAT}: the object store failed ({answer.status})")
        if answer.status >= 300 and answer.status != 404:  # gone meanwhile is as good
            raise StorageFailed(f"{WHAT}: the object store refused ({answer.status})")
        return body


@contextlib.contextmanager
def _connected(
    egress: Egress, url: str, seconds: float
) -> Iterator[tuple[http.client.HTTPConnection, Callable[[], bool]]]:
    """A connection that is cut when its time is over, and whether it was.

    A timeout of the socket would begin anew with each byte.
    """
    origin = origin_of(url)
    connection = http.client.HTTPConnection(*origin)
    opened = egress.connect(origin, seconds)
    handle = opened.dup()  # which stays when TLS takes the socket over
    is_cut = threading.Event()
    watch = threading.Timer(seconds, lambda: _cut(handle, is_cut))
    watch.daemon = True
    watch.start()
    try:
        if url.startswith("https:"):
            connection.default_port = http.client.HTTPS_PORT
            connection.sock = _tls().wrap_socket(opened, server_hostname=origin.host)
        else:
            connection.sock = opened
        yield connection, is_cut.is_set
    finally:
        watch.cancel()
        connection.close()
        opened.close()
        handle.close()


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading all certificates takes tens of milliseconds."""
    return ssl.create_default_context()


def _cut(opened: socket.socket, is_cut: threading.Event) -> None:
    is_cut.set()  # before the reader sees the end of the stream, which could be taken for the end of a response
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


def _element(text: str, name: str) -> str:
    """What is in the first element of this name; in time that grows with the text and not with its square."""
    value, end, _ = text.partition(f"<{name}>")[2].partition(f"</{name}>")
    return html.unescape(value) if end else ""
