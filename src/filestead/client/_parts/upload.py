# Generated from _parts/async_upload.py by scripts/generate_sync_client.py: edit that file.
"""Uploads in parts: after a broken connection, only the part that it interrupted is sent again."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from filestead import wire
from filestead.client._transport import requests, responses
from filestead.client._transport.exchange import ResponseHead
from filestead.client._transport.requests import Request
from filestead.client._transport.session import Session
from filestead.client._upload.progress import offset_progress
from filestead.client._upload.sources import Source, part_of
from filestead.client.config import PART_BYTES, ExpiresAfter, OnProgress
from filestead.client.errors import APIConnectionError, FilesteadError

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


class CompletedUpload(msgspec.Struct):
    """The response to the completion of an upload."""

    file: wire.FileObject


class _Created(msgspec.Struct):
    id: str


def upload_in_parts(
    session: Session, file: NewFile, *, make_error: MakeError = responses.status_error
) -> tuple[ResponseHead, bytes] | None:
    """Upload a file in parts, one after the other. Return the response that has the file object in `file`.

    Return None, with nothing sent, if the server has no uploads in parts. A part is retried as other requests are; an
    upload that fails for another reason than the connection is cancelled, which frees its quota.
    """
    source = file.source
    assert source.size is not None, "a source that can be sent in parts"
    filename = source.filename if file.filename is None else file.filename
    request = requests.create_upload(filename, source.size, file.purpose, expires_after=file.expires_after)
    response = session.send(request)
    body = response.read()
    if response.head.status in NO_ROUTE:
        return None
    upload_id = _id_in(response.head, body, make_error)
    sender = _PartSender(session, upload_id, file, make_error)
    try:
        part_ids: list[str] = []
        for start in range(0, source.size, PART_BYTES):
            part_ids.append(sender.send(start, part_ids))
        done = session.send(requests.complete_upload(upload_id, part_ids))
        body = done.read()
        if done.head.status >= 300:
            raise make_error(done.head, body)
        return done.head, body
    except APIConnectionError:
        raise
    except Exception:
        _cancel(session, requests.cancel_upload(upload_id))
        raise


@dataclass(frozen=True, slots=True)
class _PartSender:
    """Sends the parts of one upload."""

    session: Session
    upload_id: str
    file: NewFile
    make_error: MakeError

    def send(self, start: int, before: Sequence[str]) -> str:
        """Send the part that begins at a byte of the file. Return its id, which is none of those before it."""
        total = self.file.source.size or 0
        source = part_of(self.file.source, start, min(PART_BYTES, total - start))
        report = offset_progress(self.file.on_progress, start, total)
        part_id = ""
        for _ in range(self.session.config.max_retries + 1):
            response = self.session.send(requests.create_part(self.upload_id, source, on_progress=report))
            part_id = _id_in(response.head, response.read(), self.make_error)
            if part_id not in before:
                break
            # The part was sent again, and the server took it for an equal one before it.
        return part_id


def _cancel(session: Session, request: Request) -> None:
    # If that fails it expires by itself: the failure to report is another.
    with suppress(FilesteadError):
        session.send(request)


def _id_in(head: ResponseHead, body: bytes, make_error: MakeError) -> str:
    if head.status >= 300:
        raise make_error(head, body)
    return responses.decode(_Created, head, body).id
