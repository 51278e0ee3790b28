"""Which installation a location in a bucket belongs to, and foreign objects in it."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import obstore
from obstore.store import S3Store

from filestead.blobs.s3 import listing
from filestead.blobs.s3.errors import ObjectExists, translate_s3_errors
from filestead.domain.errors import BlobNotFound, CannotStart, DomainError
from filestead.domain.integrity import Violation

MARKER = "VOLUME"
BLOB = re.compile(r"([0-9a-z]{2})/\1[0-9a-z]{30}")
START_SECONDS = 60.0
"""For all pages of a list while a server starts."""

MAX_PROBE_AGE = timedelta(hours=1)


async def open_volume(client: S3Store, url: str, installation: str, *, fresh: bool) -> None:
    """Mark the location for a fresh installation, or check that it belongs to `installation`. `CannotStart`."""
    try:
        found = await _read_marker(client)
        if found is None and fresh and not await _holds_blobs(client):
            with contextlib.suppress(ObjectExists), translate_s3_errors("marking the bucket"):
                await obstore.put_async(client, MARKER, f"{installation}\n".encode(), mode="create")
            found = await _read_marker(client)
        await _delete_old_probes(client)
    except DomainError as error:
        raise CannotStart(
            f"the object store at {url} cannot be used ({error}): check that it is running, the bucket, the endpoint "
            "and the credentials"
        ) from None
    if found is None:
        raise CannotStart(
            f"{url} does not belong to this database (the object {MARKER} is missing): the bucket is the wrong one or "
            "was emptied, or `filestead migrate` ran with another FILESTEAD_BLOB_URL. Set the right URL, or restore "
            "the blobs from the backup; if no file was ever stored, run `filestead migrate` on a new database"
        )
    if found != installation:
        # Unlike a directory, a bucket has no lock: another node may have started to use an empty one.
        raise CannotStart(
            f"{url} holds the blobs of another installation ({found} instead of {installation}): set the bucket and "
            f"prefix of this database. Only if a first start was interrupted here, delete the object {MARKER}"
        )


async def _read_marker(client: S3Store) -> str | None:
    try:
        with translate_s3_errors("reading the marker"):
            response = await obstore.get_async(client, MARKER)
            return bytes(await response.bytes_async()).decode(errors="replace").strip()
    except BlobNotFound:
        return None


async def _holds_blobs(client: S3Store) -> bool:
    async with contextlib.aclosing(listing.list_pages(client, "blobs", _request, size=1)) as pages:
        return await anext(pages, None) is not None


async def _delete_old_probes(client: S3Store) -> None:
    limit = datetime.now(UTC) - MAX_PROBE_AGE
    async for page in listing.list_pages(client, "probes", _request, seconds=START_SECONDS):
        for found in page:
            if found["last_modified"] < limit:
                with translate_s3_errors("deleting probes"):
                    await obstore.delete_async(client, found["path"])


async def inspect(client: S3Store, url: str) -> list[Violation]:
    """Foreign objects among the blobs."""
    found = []
    async for page in listing.list_pages(client, "blobs", _request):
        for meta in page:
            name = meta["path"].removeprefix("blobs/")
            if not BLOB.fullmatch(name):
                subject, evidence = f"{url}/blobs/{name}", "an object that does not belong to Filestead"
                found.append(Violation("I-06", "B", subject, evidence, "move it elsewhere"))
    return found


@contextlib.asynccontextmanager
async def _request() -> AsyncGenerator[None]:
    with translate_s3_errors(listing.OPERATION):
        async with asyncio.timeout(listing.PAGE_SECONDS):
            yield
