"""Whether the store holds what was sent: size, and ETag if the store's ETags are MD5 checksums."""

import asyncio
import contextlib
import hashlib
import logging
import secrets

import obstore

from filestead.blobs.s3.bucket import CREATE_OPERATION, Bucket, unquoted
from filestead.blobs.s3.parts import multipart_etag
from filestead.domain.errors import BlobNotFound, DomainError, StorageFailed

log = logging.getLogger("filestead")


class Verifier:
    """Verifies objects by their ETag until a probe shows that the store's ETags are something else."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.etags_are_md5 = True

    async def verify(self, path: str, size: int, etag: str) -> None:
        """Raise `StorageFailed` unless the store holds an object of this size and ETag."""
        found = await self._bucket.head(path)
        if found is None or found.size != size:
            raise StorageFailed(f"{CREATE_OPERATION}: the stored object does not match what was sent (size mismatch)")
        if self.etags_are_md5 and found.etag != etag:
            await self.probe()
            if self.etags_are_md5:
                raise StorageFailed(
                    f"{CREATE_OPERATION}: the stored object does not match what was sent (checksum mismatch)"
                )

    async def probe(self) -> None:
        """Write, read and delete a small object, and find out whether the store's ETags are MD5 checksums."""
        path, data = f"probes/{secrets.token_hex(8)}", secrets.token_bytes(64)
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        try:
            async with self._bucket.request("probing"):
                await obstore.put_async(self._bucket.client, path, data, use_multipart=True)
                response = await obstore.get_async(self._bucket.client, path)
                if bytes(await response.bytes_async()) != data:
                    raise StorageFailed("probing: the object store returned other bytes than were stored")
            are_md5 = unquoted(response.meta["e_tag"]) == multipart_etag([digest])
            if are_md5 != self.etags_are_md5:
                log.warning("the object store's ETags are %s MD5 checksums", "now" if are_md5 else "not")
            self.etags_are_md5 = are_md5
        except BlobNotFound:
            raise StorageFailed("probing: the object that was stored is missing") from None
        finally:
            with contextlib.suppress(DomainError):
                await asyncio.shield(self._delete_probe(path))

    async def _delete_probe(self, path: str) -> None:
        async with self._bucket.request("deleting a probe"):
            await obstore.delete_async(self._bucket.client, path)
