# Generated from _parts/async_creation.py by scripts/generate_sync_client.py: edit that file.
"""Creates a file: whole or in parts, by its size and by how its connection ends."""

import os
from dataclasses import replace
from pathlib import Path

from filestead import wire
from filestead.client._parts.journal import identity_of, open_journal
from filestead.client._parts.upload import CompletedUpload, NewFile, upload_in_parts
from filestead.client._transport import requests, responses
from filestead.client._transport.requests import Request
from filestead.client._transport.session import Session
from filestead.client._upload.progress import SentMeter
from filestead.client.config import PART_BYTES, PARTS_ABOVE_BYTES
from filestead.client.errors import APIConnectionError


def create_file(
    session: Session, file: NewFile, *, parts: bool, resume: str | os.PathLike[str] | None
) -> wire.FileObject:
    """Upload a file as `FilesClient.create_file` describes."""
    source = file.source
    if not parts or not source.rewindable or (source.size or 0) <= PART_BYTES:
        return _send(session, _whole(file, SentMeter(file.on_progress)))
    if resume is None:
        return _create_large(session, file)
    identity = identity_of(
        session.config, source, file.purpose, expires_after=file.expires_after, filename=file.filename
    )
    journal = open_journal(Path(resume), identity)
    try:
        return _create_large(session, replace(file, journal=journal))
    finally:
        if journal is not None:
            journal.close()


def _create_large(session: Session, file: NewFile) -> wire.FileObject:
    meter = SentMeter(file.on_progress)
    whole = _whole(file, meter)
    if file.size <= PARTS_ABOVE_BYTES and not file.continues:
        try:
            return _send(session, replace(whole, retries_disconnects=False))
        except APIConnectionError:
            if not session.config.max_retries:
                raise
    # A server that has received the whole file may have stored it; the same key does not store it twice.
    made = None if meter.complete else upload_in_parts(session, file)
    if made is None:
        return _send(session, whole)
    return responses.decode(CompletedUpload, *made).file


def _whole(file: NewFile, meter: SentMeter) -> Request:
    return requests.create_file(
        file.source, file.purpose, expires_after=file.expires_after, filename=file.filename, on_progress=meter
    )


def _send(session: Session, request: Request) -> wire.FileObject:
    response = session.send(request)
    return responses.decode(wire.FileObject, response.head, response.read())
