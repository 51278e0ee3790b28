"""The state of one download, without I/O: ranges, validators, digests, retries (RFC 9110 sections 8.8, 13.1.5 and 14).

A download goes on where it broke off only if the server gave a strong ETag: anything else may join bytes of two files.
"""

import base64
import binascii
import hashlib
import os
import random
import re
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import unquote

from filestead.client._transport import requests, retries
from filestead.client._transport.exchange import AnswerHead
from filestead.client._transport.requests import Request
from filestead.client._transport.responses import unexpected
from filestead.client.errors import APIConnectionError, APITimeoutError, IntegrityError

if TYPE_CHECKING:
    from hashlib import _Hash

CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", re.ASCII)
SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):", re.ASCII)
STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
NAME_MAX = 255
"""Bytes in the name of a file, on nearly every file system."""

MAX_EXTENSION_BYTES = 32
"""Longer ones are part of the name."""

EXTENDED_NAME = re.compile(r"filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
PLAIN_NAME = re.compile(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)

Progress = Callable[[int, int | None], None]
"""Called with the position in the file and its size, None while unknown. It falls back if a download starts anew."""


class FileContent(bytes):
    """The bytes of a file, with what the server said about them. `sha256` is of these bytes, in hexadecimal."""

    filename: str | None
    content_type: str | None
    sha256: str


class Verdict(Enum):
    """What to do with an answer."""

    CONTINUE = "its bytes follow those that are there"
    RESTART = "its bytes replace those that are there"
    AGAIN = "it is of no use; ask again"


class Transfer:
    """One download over as many requests as it takes.

    For each: send `request()`, show the head to `begin()`, each chunk to `feed()`, the end to `ended()`; after a
    failure or a short body ask `interrupted()`. `position` is the next byte's place in the file.
    """

    def __init__(
        self,
        file_id: str,
        *,
        max_retries: int,
        start: int = 0,
        restartable: bool = False,
        resume: bool = True,
        on_progress: Progress | None = None,
    ) -> None:
        if start < 0:
            raise ValueError(f"start {start} is negative")
        requests.file_path(file_id)
        self.file_id = file_id
        self.start = start
        self.position = start
        self.total: int | None = None
        self.etag: str | None = None
        self.filename: str | None = None
        self.content_type: str | None = None
        self.restartable = restartable
        self.resume = resume
        self._on_progress = on_progress
        self._max_retries = max_retries
        self._digest: bytes | None = None
        self._hash: _Hash | None = hashlib.sha256() if start == 0 else None
        self._encoded = False
        self._void = False
        self._skip = 0
        self._failures = 0
        self._furthest = start

    def take_over(self, position: int, etag: str, digest: "_Hash") -> None:
        """Go on from what an earlier download left."""
        self.position, self.etag, self._hash = position, etag, digest
        self._furthest = position

    @property
    def resumable(self) -> bool:
        """Whether what has come so far can be completed later."""
        return self.resume and self.etag is not None and not self._encoded

    @property
    def sha256(self) -> str | None:
        """The digest of the bytes so far, in hexadecimal; None if they do not begin at zero."""
        return self._hash.hexdigest() if self._hash else None

    def request(self) -> Request:
        """What to ask for now."""
        headers: tuple[tuple[str, str], ...] = ()
        if self.position > 0:
            headers = (("Range", f"bytes={self.position}-"),)
            if self.etag is not None:
                headers += (("If-Range", self.etag),)
        return requests.file_content(self.file_id, headers)

    def accepts(self, status: int) -> bool:
        """Whether `begin` has a use for this status; any other is an error."""
        return status in {200, 203, 206} or (status == 416 and self.restartable and self.position > 0)

    def begin(self, head: AnswerHead) -> Verdict:
        """Judge the head of an answer. Raises `IntegrityError` if what was already handed out cannot be continued."""
        if head.status == 206 and self._continues(head):
            self._describe(head)
            return Verdict.CONTINUE
        if head.status in {206, 416}:
            # Bytes of another place or another file, and not all of that: only a whole answer helps.
            self._start_anew(head)
            return Verdict.AGAIN
        return self._whole(head)

    def _whole(self, head: AnswerHead) -> Verdict:
        same = self.etag is not None and strong_etag(head) == self.etag
        if self.position > 0 and not self.restartable and (same or self.position == self.start):
            self._describe(head)
            self._skip = self.position
            return Verdict.CONTINUE
        if self.position > 0:
            self._start_anew(head)
        restart, self._void = self._void, False
        self._describe(head)
        return Verdict.RESTART if restart or self.restartable else Verdict.CONTINUE

    def _continues(self, head: AnswerHead) -> bool:
        match = CONTENT_RANGE.fullmatch(head.headers.get("content-range", "").strip())
        if match is None or self.position == 0 or int(match[1]) != self.position or _is_encoded(head):
            return False
        if self.etag is not None and head.headers.get("etag", self.etag).strip() != self.etag:
            return False
        return self.total is None or match[3] in {str(self.total), "*"}

    def _describe(self, head: AnswerHead) -> None:
        self._encoded = _is_encoded(head)
        self.etag = strong_etag(head) or (self.etag if head.status == 206 else None)
        self._digest = _expected_digest(head)
        self.filename = filename_of(head) or self.filename
        self.content_type = head.headers.get("content-type")
        if head.status == 206:
            size = head.headers["content-range"].rpartition("/")[2]
        else:
            size = "*" if self._encoded else head.headers.get("content-length", "*")
        self.total = int(size) if size.isdecimal() else None

    def _start_anew(self, head: AnswerHead) -> None:
        if not self.restartable:
            if self.position == self.start:
                raise unexpected(head, f"not the bytes from {self.start} on that were asked for")
            raise IntegrityError(f"{self._where()}, and the server cannot go on from there")
        self._failures += 1
        if self._failures > self._max_retries + 1:
            raise IntegrityError(f"{self._where()}, and the server does not send what it is asked for")
        self._forget()

    def _forget(self) -> None:
        self.position, self.etag, self.total = 0, None, None
        self._hash, self._void = hashlib.sha256(), True

    def feed(self, chunk: bytes) -> bytes:
        """Take note of a chunk; returns what of it is new."""
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        if chunk:
            self.position += len(chunk)
            if self.total is not None and self.position > self.total:
                self._damaged(f"{self.file_id} has {self.total} bytes, and the server sends more")
            if self._hash is not None:
                self._hash.update(chunk)
        return chunk

    def report(self) -> None:
        """Tell the caller how far it is."""
        if self._on_progress is not None:
            self._on_progress(self.position, self.total)

    def ended(self) -> bool:
        """The body came to its end: True if the file is whole, False if there is more to ask for.

        Raises `IntegrityError` if it is not what the server's digest says. A body that came compressed is not
        compared: its digest may be that of the compressed bytes, and its own checksum has been checked.
        """
        if self._skip or (self.total is not None and self.position < self.total):
            return False
        expected = None if self._encoded else self._digest
        if expected is not None and self._hash is not None and self._hash.digest() != expected:
            self._damaged(f"the content of {self.file_id} is damaged: it is not what the server's digest says")
        return True

    def _damaged(self, message: str) -> None:
        self.etag = None  # Never to be resumed.
        raise IntegrityError(message)

    def content(self, chunks: list[bytes]) -> FileContent:
        """The whole file in memory."""
        content = FileContent(b"".join(chunks))
        content.filename, content.content_type = self.filename, self.content_type
        content.sha256 = self.sha256 or hashlib.sha256(content).hexdigest()
        return content

    def interrupted(self, error: APIConnectionError | None) -> float:
        """Seconds to wait before asking again. Raises when the tries are used up, or another would not help."""
        progress = self.position > self._furthest
        if progress:
            self._furthest, self._failures = self.position, 0
        self._failures += 1
        helps = self.restartable or self.resumable or self.position == self.start
        if self._failures > self._max_retries or not helps:
            if isinstance(error, APITimeoutError):
                raise error
            raise IntegrityError(self._where()) from error
        if not self.resumable and self.restartable:
            self._forget()
        return 0.0 if progress else retries.backoff(self._failures - 1, random=random.random)

    def _where(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        return f"the download of {self.file_id} broke off after {self.position}{of} bytes"


def strong_etag(head: AnswerHead) -> str | None:
    """The ETag if it is a strong one: only that promises the same bytes."""
    value = head.headers.get("etag", "").strip()
    return value if STRONG.fullmatch(value) else None


def _is_encoded(head: AnswerHead) -> bool:
    return head.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}


def _expected_digest(head: AnswerHead) -> bytes | None:
    """SHA-256 of the whole file, of `Repr-Digest` (RFC 9530)."""
    match = SHA256.search(head.headers.get("repr-digest", ""))
    try:
        digest = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        return None
    return digest if len(digest) == 32 else None


def filename_of(head: AnswerHead) -> str | None:
    """The name in `Content-Disposition` (RFC 6266); the extended form wins."""
    header = head.headers.get("content-disposition", "")
    if match := EXTENDED_NAME.search(header):
        return unquote(match[1], errors="replace")
    if match := PLAIN_NAME.search(header):
        return re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2]
    return None


def safe_name(filename: str, file_id: str) -> str:
    """A server's name for a file as a name within a folder: never a path, hidden, an option, or too long.

    The last part of it, without unprintable characters, and without dots and dashes at its start.
    """
    for given in (filename, file_id):
        name = re.split(r"[/\\]", given)[-1]
        name = "".join(c for c in name if c.isprintable()).strip().lstrip("-. ")
        if name:
            return fitting_name(name)
    return "download"


def fitting_name(name: str, suffix: str = "") -> str:
    """The name with the suffix before its extension, cut in front of it to the `NAME_MAX` bytes of a file system."""
    stem, extension = os.path.splitext(name)
    if len(os.fsencode(extension)) > MAX_EXTENSION_BYTES:
        stem, extension = name, ""
    room = NAME_MAX - len(os.fsencode(suffix + extension))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + suffix + extension
