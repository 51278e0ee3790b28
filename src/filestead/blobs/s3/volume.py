"""Whose place in a bucket it is, and what does not belong there. These functions block."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import obstore
from obstore.store import S3Store

from filestead.blobs.s3.errors import AlreadyThere, translate_s3_errors
from filestead.blobs.s3.listing import blocking, pages
from filestead.domain.errors import BlobNotFound, CannotStart, DomainError
from filestead.domain.integrity import Violation

MARKER = "VOLUME"
BLOB = re.compile(r"([0-9a-z]{2})/\1[0-9a-z]{30}")
SECONDS = 15.0
"""For one page of a list."""

START_SECONDS = 60.0
"""For a list that a start waits for."""

PROBE_AGE = timedelta(hours=1)


def claim(store: S3Store, place: str, installation: str, *, fresh: bool) -> None:
    """Mark the place of a fresh installation, or see to it that this is the place of `installation`; `CannotStart`."""
    try:
        found = _marker(store)
        if found is None and fresh and not _holds_blobs(store):
            with contextlib.suppress(AlreadyThere), translate_s3_errors("marking the bucket"):
                obstore.put(store, MARKER, f"{installation}\n".encode(), mode="create")
            found = _marker(store)
        _drop_old_probes(store)
    except DomainError as error:
        raise CannotStart(
            f"the object store at {place} cannot be used ({error}): check that it runs, the bucket, the endpoint and "
            "the credentials"
        ) from None
    if found is None:
        raise CannotStart(
            f"{place} is not of this database (the object {MARKER} is missing): this is the wrong bucket or an emptied "
            "one, or `filestead migrate` ran with another FILESTEAD_BLOB_URL. Name the right one, or restore the blobs "
            "from the backup; if no file was ever stored, run `filestead migrate` on a new database"
        )
    if found != installation:
        # Unlike a directory, a bucket has no lock: another node may have begun to use an empty one.
        raise CannotStart(
            f"{place} holds the blobs of another installation ({found} instead of {installation}): name the bucket and "
            f"prefix that belong to this database. Only if a first start was cut off here, remove the object {MARKER}"
        )


def _marker(store: S3Store) -> str | None:
    try:
        with translate_s3_errors("reading the marker"):
            return bytes(obstore.get(store, MARKER).bytes()).decode(errors="replace").strip()
    except BlobNotFound:
        return None


def _holds_blobs(store: S3Store) -> bool:
    async def look() -> bool:
        async with contextlib.aclosing(pages(store, "blobs", _listing, size=1)) as found:
            return await anext(found, None) is not None

    return blocking(look)


def _drop_old_probes(store: S3Store) -> None:
    async def drop() -> None:
        limit = datetime.now(UTC) - PROBE_AGE
        async for page in pages(store, "probes", _listing, seconds=START_SECONDS):
            for found in page:
                if found["last_modified"] < limit:
                    with translate_s3_errors("removing probes"):
                        await obstore.delete_async(store, found["path"])

    blocking(drop)


def inspect(store: S3Store, place: str) -> list[Violation]:
    """Foreign objects among the blobs."""

    async def look() -> list[Violation]:
        found = []
        async for page in pages(store, "blobs", _listing):
            for meta in page:
                name = meta["path"].removeprefix("blobs/")
                if not BLOB.fullmatch(name):
                    subject = f"{place}/blobs/{name}"
                    found.append(Violation("I-06", "B", subject, "not an object of Filestead", "move it elsewhere"))
        return found

    return blocking(look)


@contextlib.asynccontextmanager
async def _listing() -> AsyncGenerator[None]:
    with translate_s3_errors("listing blobs"):
        async with asyncio.timeout(SECONDS):
            yield
