# Generated from _parts/async_upload.py by scripts/generate_sync_client.py: edit that file.
"""Uploads in parts, some at a time: after a broken connection, only the part that it interrupted is sent again.

With a journal, an upload that a killed process has begun is continued: only the parts that it lacks are sent.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

import msgspec

from filestead import wire
from filestead.client._parts.bounded import run_bounded
from filestead.client._parts.journal import Recorded, UploadJournal
from filestead.client._parts.ledger import PartLedger, Span, spans
from filestead.client._transport import requests, responses
from filestead.client._transport.exchange import ResponseHead
from filestead.client._transport.requests import Request
from filestead.client._transport.retries import RETRYABLE_STATUSES
from filestead.client._transport.session import Response, Session
from filestead.client._upload.sources import Source, part_of
from filestead.client.config import PARALLEL_PARTS, PART_BYTES, ExpiresAfter, OnProgress
from filestead.client.errors import APIConnectionError, APIError, FilesteadError

NO_ROUTE = frozenset({404, 405})
MakeError = Callable[[ResponseHead, bytes], Exception]
"""The error for a response with an error status."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to create in parts. Its source is rewindable and has a size."""

    source: Source
    purpose: str
    expires_after: ExpiresAfter = None
    filename: str | None = None
    on_progress: OnProgress | None = None
    parallel: int = PARALLEL_PARTS
    """Parts in progress at a time; each has one block in memory."""
    journal: UploadJournal | None = None
    on_continue: OnProgress | None = None
    """Called once if an upload is continued, with the bytes that are stored already and the size."""

    @property
    def size(self) -> int:
        """In bytes."""
        assert self.source.size is not None, "a source that can be sent in parts"
        return self.source.size

    @property
    def continues(self) -> bool:
        """Whether an upload is recorded that may be continued."""
        return self.journal is not None and self.journal.recorded is not None


class CompletedUpload(msgspec.Struct):
    """The response to the completion of an upload."""

    file: wire.FileObject


class _Created(msgspec.Struct):
    id: str


class _Refused(Exception):
    """A response with an error status."""

    def __init__(self, head: ResponseHead, body: bytes) -> None:
        super().__init__(head.status)
        self.head, self.body = head, body


class _AmbiguousParts(Exception):
    """The server has taken a repeated part for an equal one that was sent at the same time."""


def upload_in_parts(
    session: Session, file: NewFile, *, make_error: MakeError = responses.status_error
) -> tuple[ResponseHead, bytes] | None:
    """Upload a file in parts. Return the response that has the file object in `file`.

    Return None, with nothing sent, if the server has no uploads in parts. A part is retried as other requests are. An
    upload that fails is cancelled, which frees its quota, unless it can be continued: the connection was the reason,
    or there is a journal and the server failed. The journal is empty after success.
    """
    try:
        response = _continue(session, file)
        if response is None:
            response = _begin(session, file)
    except _Refused as refused:
        raise make_error(refused.head, refused.body) from None
    except _AmbiguousParts:
        if file.parallel == 1:
            raise APIError("the server returned the ID of one part for two parts; send the file whole") from None
        # Rare: equal parts, and the response to one of them was lost. One after the other, the latest is meant.
        return upload_in_parts(session, replace(file, parallel=1), make_error=make_error)
    if response is not None and file.journal is not None:
        file.journal.forget()
    return response


def _continue(session: Session, file: NewFile) -> tuple[ResponseHead, bytes] | None:
    """Continue the upload of the journal. None if there is none, or if the server or the file does not allow it."""
    recorded = file.journal.recorded if file.journal is not None else None
    if recorded is None:
        return None
    parts = spans(file.size, recorded.part_bytes)
    if recorded.matches and _is_unchanged(file.source, parts, recorded):
        stored = {start: part.id for start, part in recorded.parts.items()}
        ledger = PartLedger(parts, file.on_progress, stored)
        if file.on_continue is not None:
            file.on_continue(ledger.done, file.size)
        with suppress(_AmbiguousParts):
            try:
                return _Transfer(session, recorded.upload_id, file, ledger, repeated=True).run()
            except _Refused as refused:
                if not _is_final(refused):
                    raise
                # It has expired, was cancelled, or is unknown to this server: a new one is begun.
    _cancel(session, recorded.upload_id)
    return None


def _is_unchanged(source: Source, parts: Collection[Span], recorded: Recorded) -> bool:
    """Whether the file still has the bytes of all stored parts. They are read: a time stamp proves nothing."""
    if not recorded.parts.keys() <= {span.start for span in parts}:
        return False
    for span in parts:
        stored = recorded.parts.get(span.start)
        if stored is None:
            continue
        part = _HashedPart(part_of(source, span.start, span.size))
        for _ in part.blocks(0):
            pass
        if part.sha256 != stored.sha256:
            return False
    return True


def _begin(session: Session, file: NewFile) -> tuple[ResponseHead, bytes] | None:
    """Upload all parts. None if the server has no uploads in parts."""
    filename = file.source.filename if file.filename is None else file.filename
    request = requests.create_upload(filename, file.size, file.purpose, expires_after=file.expires_after)
    response = session.send(request)
    body = response.read()
    if response.head.status in NO_ROUTE:
        return None
    upload_id = _id_in(response.head, body)
    if file.journal is not None:
        file.journal.begin(upload_id, PART_BYTES)
    ledger = PartLedger(spans(file.size, PART_BYTES), file.on_progress)
    return _Transfer(session, upload_id, file, ledger).run()


class _HashedPart:
    """Computes the SHA-256 of a part while it is read; reading it again starts over."""

    def __init__(self, part: Source) -> None:
        self._part = part
        self._digest = hashlib.sha256()

    @property
    def source(self) -> Source:
        return replace(self._part, blocks=self.blocks)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def blocks(self, offset: int) -> Iterator[bytes | memoryview]:
        self._digest = hashlib.sha256()
        for block in self._part.blocks(offset):
            self._digest.update(block)
            yield block


@dataclass(frozen=True, slots=True)
class _Transfer:
    """Sends the missing parts of one upload, and completes it."""

    session: Session
    upload_id: str
    file: NewFile
    ledger: PartLedger
    repeated: bool = False
    """Whether a missing part may be stored already."""

    def run(self) -> tuple[ResponseHead, bytes]:
        try:
            run_bounded(self._send, self.ledger.missing, self.file.parallel, self.ledger.stop)
            # Parts are read at different times: those before a change and after it are not one file.
            self.file.source.check_version()
            done = self.session.send(requests.complete_upload(self.upload_id, self.ledger.part_ids))
            body = done.read()
            if done.head.status >= 300:
                raise _Refused(done.head, body)
            return done.head, body
        except Exception as error:
            self._end(error)

    def _send(self, span: Span) -> None:
        """Send one part, until the server gives it an id that no other part has."""
        part = part_of(self.file.source, span.start, span.size)
        hashed = _HashedPart(part) if self.file.journal is not None else None
        request = requests.create_part(
            self.upload_id,
            part if hashed is None else hashed.source,
            f"part-at-{span.start}",
            on_progress=lambda sent, _: self.ledger.record(span, sent),
            repeated=self.repeated,
        )
        for attempt in range(self.session.config.max_retries + 1):
            response = self._post(request)
            try:
                part_id = _id_in(response.head, response.read())
            except _Refused as refused:
                if _is_final(refused):
                    # Servers refuse the key of a part that is sent again with other bytes.
                    self.file.source.check_version()
                    if attempt:
                        raise _AmbiguousParts from None
                raise
            if self.ledger.claim(span, part_id):
                if hashed is not None and self.file.journal is not None:
                    self.file.journal.add(span.start, part_id, hashed.sha256)
                return
            # The part was sent again, and the server took it for an equal one before it.
        raise _AmbiguousParts

    def _post(self, request: Request) -> Response:
        """Send a part. Repeat the retries while other parts are acknowledged: then the server can be reached.

        A retry may use a pooled connection that is about to be cut like the one before.
        """
        while True:
            acknowledged = self.ledger.acknowledged
            try:
                return self.session.send(request)
            except APIConnectionError:
                if self.ledger.acknowledged == acknowledged or not self.session.config.max_retries:
                    raise

    def _end(self, error: Exception) -> NoReturn:
        """Cancel the upload, unless it can be continued, or its caller replaces it."""
        may_pass = isinstance(error, _Refused) and not _is_final(error) and self.file.journal is not None
        if not isinstance(error, APIConnectionError) and not may_pass and not self.repeated:
            _cancel(self.session, self.upload_id)
            if self.file.journal is not None:
                self.file.journal.forget()
        raise error


def _cancel(session: Session, upload_id: str) -> None:
    # If that fails it expires by itself: the failure to report is another.
    with suppress(FilesteadError):
        session.send(requests.cancel_upload(upload_id))


def _is_final(refused: _Refused) -> bool:
    """Whether the server would say the same again."""
    return refused.head.status < 500 and refused.head.status not in RETRYABLE_STATUSES


def _id_in(head: ResponseHead, body: bytes) -> str:
    if head.status >= 300:
        raise _Refused(head, body)
    return responses.decode(_Created, head, body).id
