"""Creates a file: whole or in parts, by its size and by how its connection ends."""

import os
from dataclasses import replace
from pathlib import Path

from filestead import wire
from filestead.client._parts.async_upload import CompletedUpload, NewFile, upload_in_parts
from filestead.client._parts.journal import identity_of, open_journal
from filestead.client._threads import in_thread
from filestead.client._transport import requests, responses
from filestead.client._transport.async_session import AsyncSession
from filestead.client._transport.requests import Request
from filestead.client._upload.progress import SentMeter
from filestead.client.config import PART_BYTES, PARTS_ABOVE_BYTES
from filestead.client.errors import APIConnectionError


async def create_file(
    session: AsyncSession, file: NewFile, *, parts: bool, resume: str | os.PathLike[str] | None
) -> wire.FileObject:
    """Upload a file as `AsyncFilesClient.create_file` describes."""
    source = file.source
    if not parts or not source.rewindable or (source.size or 0) <= PART_BYTES:
        return await _send(session, _whole(file, SentMeter(file.on_progress)))
    if resume is None:
        return await _create_large(session, file)
    identity = identity_of(
        session.config, source, file.purpose, expires_after=file.expires_after, filename=file.filename
    )
    journal = await in_thread(open_journal, Path(resume), identity)
    try:
        return await _create_large(session, replace(file, journal=journal))
    finally:
        if journal is not None:
            await in_thread(journal.close)


async def _create_large(session: AsyncSession, file: NewFile) -> wire.FileObject:
    meter = SentMeter(file.on_progress)
    whole = _whole(file, meter)
    if file.size <= PARTS_ABOVE_BYTES and not file.continues:
        try:
            return await _send(session, replace(whole, retries_disconnects=False))
        except APIConnectionError:
            if not session.config.max_retries:
                raise
    # A server that has received the whole file may have stored it; the same key does not store it twice.
    made = None if meter.complete else await upload_in_parts(session, file)
    if made is None:
        return await _send(session, whole)
    return responses.decode(CompletedUpload, *made).file


def _whole(file: NewFile, meter: SentMeter) -> Request:
    return requests.create_file(
        file.source, file.purpose, expires_after=file.expires_after, filename=file.filename, on_progress=meter
    )


async def _send(session: AsyncSession, request: Request) -> wire.FileObject:
    response = await session.send(request)
    return responses.decode(wire.FileObject, response.head, await response.read())
