"""The state of one download, without I/O: ranges, validators, digests, retries (RFC 9110 sections 8.8, 13.1.5 and 14).

A download is resumed only with a strong ETag: otherwise bytes of two different files might be joined.
"""

import hashlib
import re
from enum import Enum
from typing import TYPE_CHECKING, Literal

from filestead.client._download.headers import content_filename, expected_digest, is_encoded, strong_etag
from filestead.client._transport import requests, retries
from filestead.client._transport.exchange import ResponseHead
from filestead.client._transport.requests import Request
from filestead.client._transport.responses import validation_error
from filestead.client.config import OnProgress
from filestead.client.errors import APIConnectionError, APITimeoutError, IntegrityError

if TYPE_CHECKING:
    from hashlib import _Hash

CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", re.ASCII)


class FileContent(bytes):
    """The bytes of a file, with the server's name and type for it. `sha256` is of these bytes, in hexadecimal."""

    filename: str | None
    content_type: str | None
    sha256: str


class ResponseAction(Enum):
    """How to handle a response."""

    APPEND = "append its bytes to those already received"
    RESTART = "discard the bytes already received, then take those of the response"
    RETRY = "discard the response and send another request"


Chunk = bytes | Literal[ResponseAction.RESTART]
"""New bytes of a download, or the mark that all bytes before it are discarded."""


class Download:
    """One download over as many requests as it needs.

    For each: send `request()`, pass the response's head to `begin_response()`, each chunk to `feed()`, and call
    `end_response()`. After a failure or a short body, wait for `retry_delay()`.
    """

    def __init__(
        self,
        file_id: str,
        *,
        max_retries: int,
        start: int = 0,
        restartable: bool = False,
        resume: bool = True,
        on_progress: OnProgress | None = None,
    ) -> None:
        if start < 0:
            raise ValueError(f"start {start} is negative")
        requests.file_content(file_id)  # Raises `ValueError` now, not at the first request.
        self.file_id = file_id
        self.start = start
        self.position = start
        """The offset in the file of the next byte."""
        self.total: int | None = None
        self.etag: str | None = None
        self.filename: str | None = None
        self.content_type: str | None = None
        self.restartable = restartable
        """Whether the bytes already passed on can be discarded."""
        self.resume = resume
        self._on_progress = on_progress
        self._max_retries = max_retries
        self._expected_digest: bytes | None = None
        self._hash: _Hash | None = hashlib.sha256() if start == 0 else None
        self._encoded = False
        self._restarting = False
        self._skip = 0
        self._failures = 0
        self._furthest = start

    def resume_from(self, position: int, etag: str, digest: "_Hash") -> None:
        """Continue an earlier download; `digest` is of its bytes."""
        self.position, self.etag, self._hash = position, etag, digest
        self._furthest = position

    @property
    def resumable(self) -> bool:
        """Whether a later download can continue this one."""
        return self.resume and self.etag is not None and not self._encoded

    def request(self) -> Request:
        """The next request to send."""
        headers: tuple[tuple[str, str], ...] = ()
        if self.position > 0:
            headers = (("Range", f"bytes={self.position}-"),)
            if self.etag is not None:
                headers += (("If-Range", self.etag),)
        return requests.file_content(self.file_id, headers)

    def accepts(self, status: int) -> bool:
        """Whether `begin_response` handles this status; any other is an error."""
        return status in {200, 203, 206} or (status == 416 and self.restartable and self.position > 0)

    def begin_response(self, head: ResponseHead) -> ResponseAction:
        """Begin a response. Raises `IntegrityError` if it cannot continue the bytes already passed on."""
        if head.status == 206 and self._is_continued_by(head):
            self._record_metadata(head)
            return ResponseAction.APPEND
        if head.status in {206, 416}:
            # Bytes of another range or another file: only a complete response helps.
            self._restart(head)
            return ResponseAction.RETRY
        return self._begin_complete_response(head)

    def _begin_complete_response(self, head: ResponseHead) -> ResponseAction:
        """Skip the bytes already passed on if they are the same; else restart."""
        same_file = self.etag is not None and strong_etag(head) == self.etag
        if self.position > 0 and not self.restartable and (same_file or self.position == self.start):
            self._record_metadata(head)
            self._skip = self.position
            return ResponseAction.APPEND
        if self.position > 0:
            self._restart(head)
        restart, self._restarting = self._restarting, False
        self._record_metadata(head)
        return ResponseAction.RESTART if restart or self.restartable else ResponseAction.APPEND

    def _is_continued_by(self, head: ResponseHead) -> bool:
        match = CONTENT_RANGE.fullmatch(head.headers.get("content-range", "").strip())
        if match is None or self.position == 0 or int(match[1]) != self.position or is_encoded(head):
            return False
        if self.etag is not None and head.headers.get("etag", self.etag).strip() != self.etag:
            return False
        return self.total is None or match[3] in {str(self.total), "*"}

    def _record_metadata(self, head: ResponseHead) -> None:
        self._encoded = is_encoded(head)
        self.etag = strong_etag(head) or (self.etag if head.status == 206 else None)
        self._expected_digest = expected_digest(head)
        self.filename = content_filename(head) or self.filename
        self.content_type = head.headers.get("content-type")
        if head.status == 206:
            size = head.headers["content-range"].rpartition("/")[2]
        else:
            size = "*" if self._encoded else head.headers.get("content-length", "*")
        self.total = int(size) if size.isdecimal() else None

    def _restart(self, head: ResponseHead) -> None:
        if not self.restartable:
            if self.position == self.start:
                raise validation_error(head, f"not the requested bytes from {self.start} on")
            raise IntegrityError(f"{self._interruption_message()}, and the server cannot resume it")
        self._failures += 1
        if self._failures > self._max_retries + 1:
            raise IntegrityError(f"{self._interruption_message()}, and the server does not send the requested range")
        self._discard()

    def _discard(self) -> None:
        self.position, self.etag, self.total = 0, None, None
        self._hash, self._restarting = hashlib.sha256(), True

    def feed(self, chunk: bytes) -> bytes:
        """Record a chunk of the body and return those of its bytes that are new."""
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        if chunk:
            self.position += len(chunk)
            if self.total is not None and self.position > self.total:
                raise self._damaged(f"{self.file_id} has {self.total} bytes, and the server sends more")
            if self._hash is not None:
                self._hash.update(chunk)
        return chunk

    def report_progress(self) -> None:
        """Call `on_progress`."""
        if self._on_progress is not None:
            self._on_progress(self.position, self.total)

    def end_response(self) -> bool:
        """End a body without an error: True if the file is complete, False if another request is needed.

        Raises `IntegrityError` for a wrong digest. An encoded body is not compared: the digest may be that of the
        encoded bytes, and the encoding has a checksum of its own.
        """
        if self._skip or (self.total is not None and self.position < self.total):
            return False
        expected = None if self._encoded else self._expected_digest
        if expected is not None and self._hash is not None and self._hash.digest() != expected:
            raise self._damaged(f"the content of {self.file_id} is damaged: it does not match the server's digest")
        return True

    def _damaged(self, message: str) -> IntegrityError:
        self.etag = None  # Never to be resumed.
        return IntegrityError(message)

    def content(self, chunks: list[bytes]) -> FileContent:
        """The whole file in memory."""
        content = FileContent(b"".join(chunks))
        content.filename, content.content_type = self.filename, self.content_type
        content.sha256 = (self._hash or hashlib.sha256(content)).hexdigest()
        return content

    def retry_delay(self, error: APIConnectionError | None) -> float:
        """Seconds to wait before the next request. Raises if no retries are left, or if a retry cannot help."""
        progress = self.position > self._furthest
        if progress:
            self._furthest, self._failures = self.position, 0
        self._failures += 1
        can_continue = self.restartable or self.resumable or self.position == self.start
        if self._failures > self._max_retries or not can_continue:
            if isinstance(error, APITimeoutError):
                raise error
            raise IntegrityError(self._interruption_message()) from error
        if not self.resumable and self.restartable:
            self._discard()
        return 0.0 if progress else retries.backoff(self._failures - 1)

    def _interruption_message(self) -> str:
        of_total = "" if self.total is None else f" of {self.total}"
        return f"the download of {self.file_id} was interrupted after {self.position}{of_total} bytes"
