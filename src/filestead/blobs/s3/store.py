"""Blobs in a bucket of any S3-compatible store.

Layout: `<prefix>/blobs/<first two characters>/<key>`; `<prefix>/VOLUME` holds the id of the installation; probes are
written below `<prefix>/probes/`. Keys are random; no name chosen by a user becomes part of an object's name.
Guarantees: an object appears as a whole or not at all, created by one PUT (create-only) or a multipart upload. Each
body is covered by the signature of its request, which some stores check. Before `put` returns, the ETag is compared if
the store's ETags are the MD5 of what it received (not with SSE-KMS or SSE-C), otherwise the size. Corruption after that
or on the way back is detected by the reader: `needs_read_verification`.
Limits: memory is bounded for any number of uploads (`uploads.py`), and each request in time. Parts left by a killed
process are listed by `list_incomplete` if credentials were given; otherwise the bucket needs a lifecycle rule that
aborts incomplete multipart uploads.
"""

import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from filestead.blobs.keys import KEY
from filestead.blobs.s3 import listing, volume
from filestead.blobs.s3.bucket import Bucket, blob_path
from filestead.blobs.s3.reads import read_blob
from filestead.blobs.s3.uploads import Uploader
from filestead.blobs.s3.verification import Verifier
from filestead.domain.errors import DomainError
from filestead.domain.integrity import Violation


class S3Blobs:
    """A `BlobStore` with `DirectDownloads`; their docstrings are the contract."""

    needs_read_verification = True

    def __init__(self, bucket: Bucket, spool_folder: Path | None = None) -> None:
        """Parts of uploads are spooled in `spool_folder` (default: the system's folder for temporary files)."""
        self._bucket = bucket
        self._verifier = Verifier(bucket)
        self._uploader = Uploader(bucket, self._verifier, spool_folder)

    def open(self, installation: str, *, fresh: bool) -> None:
        """Mark the location for a fresh installation, or check that it belongs to `installation`. Blocks."""
        listing.run_blocking(volume.open_volume(self._bucket.client, self._bucket.url, installation, fresh=fresh))
        if self._bucket.incomplete is not None:
            with contextlib.suppress(DomainError):  # remains of probes are harmless
                self._bucket.incomplete.abort_older_than(volume.MAX_PROBE_AGE, self._bucket.name("probes/"))

    def close(self) -> None:
        self._bucket.close()

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        return await self._uploader.put(blob_path(key), chunks)

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        return read_blob(self._bucket, key, start, end)

    async def size(self, key: str) -> int | None:
        found = await self._bucket.head(blob_path(key))
        return None if found is None else found.size

    async def exists(self, key: str) -> bool:
        """Whether a complete blob is stored under the key; an incomplete one is invisible."""
        return await self.size(key) is not None

    async def delete(self, key: str) -> None:
        await self._bucket.delete(blob_path(key))

    async def list_incomplete(self) -> AsyncGenerator[str]:
        """List the keys of multipart uploads. After a crash of the store, a complete blob may have one, too."""
        if self._bucket.incomplete is None:
            return
        pages = self._bucket.incomplete.pages(self._bucket.name("blobs/"))
        # One page at a time, so that a list whose reader was cancelled ends with its page.
        while (page := await self._bucket.run(next, pages, None)) is not None:
            for upload in page:
                if KEY.fullmatch(key := upload.key.rpartition("/")[2]):
                    yield key

    async def abort_incomplete(self, key: str) -> None:
        """Abort every multipart upload to the key."""
        await self._bucket.abort_uploads(blob_path(key))

    async def stored_keys(self) -> AsyncGenerator[str]:
        request = functools.partial(self._bucket.request, listing.OPERATION, listing.PAGE_SECONDS)
        async with contextlib.aclosing(listing.list_pages(self._bucket.client, "blobs", request)) as pages:
            async for page in pages:
                for found in page:
                    if KEY.fullmatch(name := found["path"].rpartition("/")[2]):
                        yield name

    async def probe(self) -> None:
        await self._verifier.probe()

    def inspect(self) -> list[Violation]:
        """Report foreign objects among the blobs. Blocks."""
        return listing.run_blocking(volume.inspect(self._bucket.client, self._bucket.url))

    def presigned(self, key: str, *, disposition: str, seconds: int) -> str | None:
        if self._bucket.signer is None:
            return None
        return self._bucket.signer.download(self._bucket.name(blob_path(key)), disposition, seconds=seconds)
