"""Blobs in a bucket of any S3-compatible store.

Layout: `<prefix>/blobs/<first two characters>/<key>`; `<prefix>/VOLUME` holds the id of the installation; what a probe
writes is under `<prefix>/probes/`. Keys are random and ours; no name of a user ever reaches an object's name.
Guarantees: an object appears whole or not at all, as one PUT (create-only) or as a multipart upload. Every body is
covered by its request's signature, which some stores check. Before `put` returns, the store's tag is compared wherever
tags are the MD5 of what it received (not with SSE-KMS or SSE-C), else the size. What happens to the bytes later, or on
the way out, the reader finds: `needs_read_verification`.
Limits: memory is bounded by `IN_FLIGHT` and `EXPRESS`, not by the number of uploads (`s3_parts.py`); every request is
bounded in time. Parts that a killed process left are found by `unfinished` if credentials were given; otherwise the
bucket needs a lifecycle rule that aborts incomplete multipart uploads.
"""

import asyncio
import contextlib
import functools
import hashlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore

from filestead.blobs.breaker import Breaker
from filestead.blobs.keys import KEY
from filestead.blobs.s3 import listing, volume
from filestead.blobs.s3.client import ANSWER_SECONDS, client
from filestead.blobs.s3.errors import AlreadyThere, OutOfRange, translate_s3_errors
from filestead.blobs.s3.multipart import WHAT, Multipart
from filestead.blobs.s3.parts import PART_BYTES, Budget, Cut, Part, composite, spooled
from filestead.blobs.s3.proxy import DriverProxy
from filestead.blobs.s3.signing import Credentials, Signer
from filestead.blobs.s3.unfinished import Unfinished
from filestead.domain.errors import BlobNotFound, BlobStoreUnavailable, DomainError, StorageFailed
from filestead.domain.integrity import Violation
from filestead.egress import Egress, origin_of

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions

log = logging.getLogger("filestead")

IDLE_SECONDS = 15.0  # between two blocks of a read; less once it has broken
SLOWEST = 1024 * 1024  # a body may take a second more for so many bytes
GIVE_UP_SECONDS = 2.0
LAST_WORD_SECONDS = 0.5
RESUMES = 2
THREADS = 8
READ_BYTES = 1024 * 1024
IN_FLIGHT = 2 * PART_BYTES
"""Bytes on their way to the store at once, of all uploads but one."""


@dataclass(slots=True)
class _Opened:
    """A read under way: its stream, where it ends, and the tag by which it may go on elsewhere."""

    stream: "BytesStream"
    end: int
    tag: str | None


class S3Blobs:
    """See `stores.BlobStore` for the contract."""

    needs_read_verification = True

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str = "us-east-1",
        credentials: Credentials | None = None,
        egress: Egress | None = None,
        spool: Path | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `egress` the store itself is all that may be called."""
        self._place = f"s3://{bucket}/{prefix}".rstrip("/")
        self._prefix = prefix
        address = endpoint or f"https://s3.{region}.amazonaws.com"
        egress = egress or Egress([origin_of(address)])
        self._proxy = DriverProxy(egress)
        make = functools.partial(client, bucket, prefix, endpoint, region, credentials, proxy_url=self._proxy.url)
        self._quick = make(seconds=ANSWER_SECONDS)
        self._writing = make(seconds=IDLE_SECONDS - 2)
        self._reading = make(seconds=24 * 3600)  # as long as the client takes; each step has its own bound
        self._signer: Signer | None = None
        self._unfinished: Unfinished | None = None
        if credentials is not None:
            self._signer = Signer(address, bucket, region, credentials, clock)
            self._unfinished = Unfinished(self._signer, egress)
        self._spool = spool
        self._breaker = Breaker(monotonic)
        self._budget = Budget(IN_FLIGHT)
        self._express = asyncio.Lock()
        """Held by the one upload that may send several parts at once."""
        self._tags_are_md5 = True
        self._taken: set[str] = set()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="filestead-s3")

    # --- the volume ---------------------------------------------------------------------------------------------

    def open(self, installation: str, *, fresh: bool) -> None:
        """Mark the place of a fresh installation, or see to it that this is the place of `installation`. Blocks."""
        volume.claim(self._quick, self._place, installation, fresh=fresh)
        if self._unfinished is not None:
            with contextlib.suppress(DomainError):  # what probes left does no harm
                self._unfinished.abort_old(self._name("probes/"), volume.PROBE_AGE)

    def close(self) -> None:
        """Wait for what is running."""
        self._pool.shutdown()
        self._proxy.close()

    # --- writing ------------------------------------------------------------------------------------------------

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Store the chunks durably; all or nothing."""
        path = self._path(key)
        if key in self._taken:
            raise StorageFailed("creating a blob: its key is in use")
        self._taken.add(key)
        try:
            parts = Cut(chunks)
            with contextlib.closing(await spooled(parts.part(), self._run, self._spool)) as first:
                if first.size < PART_BYTES:
                    return await self._put_whole(path, first)
                return await self._put_parts(path, first, parts)
        finally:
            self._taken.discard(key)

    async def _put_whole(self, path: str, part: Part) -> int:
        async with self._budget.hold(part.size):
            await self._run(part.rewind)
            data: bytes = await self._run(part.read, PART_BYTES)
            tag = part.digest.hexdigest()
            try:
                async with self._calling(WHAT, ANSWER_SECONDS + len(data) / SLOWEST):
                    made = await obstore.put_async(self._writing, path, data, mode="create", use_multipart=False)
                if not self._tags_are_md5 or _bare(made["e_tag"]) != tag:
                    await self._confirm(path, len(data), tag)
            except AlreadyThere:
                # Either another's, which stays, or ours: the answer to an earlier try may have been lost.
                await self._confirm(path, len(data), tag)
            except BaseException as error:
                await asyncio.shield(self._take_back(path, error))
                raise
        return len(data)

    async def _put_parts(self, path: str, first: Part, parts: Cut) -> int:
        alone = not self._express.locked()
        async with self._express if alone else contextlib.nullcontext():
            upload = Multipart(
                self._writing, path, self._run, functools.partial(self._counted, WHAT), None if alone else self._budget
            )
            try:
                sums = await (upload.pass_on(first, parts) if alone else upload.send(first, parts, self._spool))
                await self._finish(upload)
                await self._confirm(path, sums.size, sums.tag)
            except BaseException as error:
                await asyncio.shield(self._abandon(upload, error))
                raise
        return sums.size

    async def _finish(self, upload: Multipart) -> None:
        try:
            await upload.finish()
        except DomainError:
            # The store may have completed it and only the answer is lost.
            if await self._size_and_tag(upload.path) is None:
                raise

    async def _abandon(self, upload: Multipart, error: BaseException) -> None:
        await upload.break_off(0 if isinstance(error, BlobStoreUnavailable) else GIVE_UP_SECONDS)
        await self._take_back(upload.path, error)

    async def _take_back(self, path: str, error: BaseException) -> None:
        """Leave nothing of a failed `put`. If that fails too, the sweep's `delete` does it.

        A store that has just been waited for is not waited for again.
        """
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS if isinstance(error, BlobStoreUnavailable) else None):
                await self._delete(path)
        except TimeoutError:
            self._breaker.record_failure()
        except DomainError as failure:
            log.warning("an upload that failed could not be taken back yet: %s", failure)

    async def _confirm(self, path: str, size: int, tag: str) -> None:
        """See to it that the store holds what was sent."""
        found = await self._size_and_tag(path)
        if found is None or found[0] != size:
            raise StorageFailed("creating a blob: the store does not hold what was sent (another size)")
        if self._tags_are_md5 and found[1] != tag:
            await self.probe()
            if self._tags_are_md5:
                raise StorageFailed("creating a blob: the store does not hold what was sent (another checksum)")

    async def _size_and_tag(self, path: str) -> tuple[int, str] | None:
        try:
            async with self._calling("looking at a blob"):
                meta = await obstore.head_async(self._quick, path)
        except BlobNotFound:
            return None
        return meta["size"], _bare(meta["e_tag"])

    # --- reading ------------------------------------------------------------------------------------------------

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes from `start` to `end`."""
        path = self._path(key)
        opened = None if end is not None and start >= end else await self._open(path, key, start, end, None)
        if opened is None:
            size = await self.size(key)
            if size is None or (end is not None and end > size):
                raise BlobNotFound(key)
            return
        position, end, tag, broken = start, opened.end, opened.tag, 0
        while position < end:
            patience = ANSWER_SECONDS if broken else IDLE_SECONDS
            try:
                async with contextlib.aclosing(self._blocks(opened, end - position, patience)) as blocks:
                    async for block in blocks:
                        position += len(block)
                        yield block
                if position < end:
                    raise StorageFailed("reading a blob: it broke off")
            except (BlobStoreUnavailable, StorageFailed) as error:
                broken += 1
                if broken > RESUMES or tag is None:
                    raise
                log.info("%s; going on at byte %d", error, position)
                try:
                    opened = await self._open(path, key, position, end, tag)
                except BlobNotFound:
                    opened = None
                if opened is None:
                    raise StorageFailed("reading a blob: it is gone") from None

    async def _open(self, path: str, key: str, start: int, end: int | None, tag: str | None) -> _Opened | None:
        """Begin to read; None if the blob ends before `start`."""
        options: GetOptions = {}
        if tag is not None:
            options["if_match"] = tag
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        try:
            async with self._calling("reading a blob", key=key):
                answer = await obstore.get_async(self._reading, path, options=options)
                meta = answer.meta
                stream = answer.stream(min_chunk_size=READ_BYTES)
        except OutOfRange:
            return None
        if end is not None and meta["size"] < end:
            raise BlobNotFound(key)
        return _Opened(stream, meta["size"] if end is None else end, meta["e_tag"])

    async def _blocks(self, opened: _Opened, left: int, patience: float) -> AsyncGenerator[bytes]:
        while True:
            async with self._calling("reading a blob", patience):
                block = await anext(opened.stream, b"")
            left -= len(block)
            if left < 0:
                raise StorageFailed("reading a blob: the store sent more than was asked for")
            if not block:
                return
            yield block

    async def size(self, key: str) -> int | None:
        """The blob's size."""
        found = await self._size_and_tag(self._path(key))
        return None if found is None else found[0]

    async def exists(self, key: str) -> bool:
        """Whether a whole blob is there; an unfinished one is invisible."""
        return await self.size(key) is not None

    # --- upkeep -------------------------------------------------------------------------------------------------

    async def delete(self, key: str) -> None:
        """Remove the blob and what an unfinished `put` left."""
        await self._delete(self._path(key))

    async def _delete(self, path: str) -> None:
        await self._drop(path)
        with contextlib.suppress(BlobNotFound):
            async with self._calling("removing a blob"):
                await obstore.delete_async(self._quick, path)

    async def list_incomplete(self) -> AsyncGenerator[str]:
        """Keys of multipart uploads. A store that died may hold one beside the whole blob of another try."""
        if self._unfinished is None:
            return
        pages = self._unfinished.pages(self._name("blobs/"))
        # A page at a time, so that a walk that nobody waits for any more ends with its page.
        while (page := await self._run(next, pages, None)) is not None:
            for upload in page:
                if KEY.fullmatch(key := upload.key.rpartition("/")[2]):
                    yield key

    async def abort_incomplete(self, key: str) -> None:
        """Abort every multipart upload to the key."""
        await self._drop(self._path(key))

    async def _drop(self, path: str) -> None:
        if self._unfinished is not None:
            async with self._calling("dropping unfinished uploads"):
                if dropped := await self._run(self._unfinished.abort, self._name(path)):
                    log.info("dropped %d unfinished uploads", dropped)

    async def stored_keys(self) -> AsyncGenerator[str]:
        """Every key."""
        calling = functools.partial(self._calling, listing.WHAT, IDLE_SECONDS)
        async with contextlib.aclosing(listing.pages(self._quick, "blobs", calling)) as pages:
            async for page in pages:
                for found in page:
                    name = found["path"].rpartition("/")[2]
                    if KEY.fullmatch(name):
                        yield name

    async def probe(self) -> None:
        """Write, read and remove a small object, and see whether the store's tags are MD5."""
        path, data = f"probes/{secrets.token_hex(8)}", secrets.token_bytes(64)
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        try:
            async with self._calling("probing"):
                await obstore.put_async(self._quick, path, data, use_multipart=True)
                answer = await obstore.get_async(self._quick, path)
                if bytes(await answer.bytes_async()) != data:
                    raise StorageFailed("probing: the store gave other bytes than were stored")
            md5 = _bare(answer.meta["e_tag"]) == composite([digest])
            if md5 != self._tags_are_md5:
                log.warning("the object store's tags are %s checksums", "now" if md5 else "no")
            self._tags_are_md5 = md5
        except BlobNotFound:
            raise StorageFailed("probing: the store does not hold what was stored") from None
        finally:
            with contextlib.suppress(DomainError):
                await asyncio.shield(self._remove_probe(path))

    async def _remove_probe(self, path: str) -> None:
        async with self._calling("removing a probe"):
            await obstore.delete_async(self._quick, path)

    def inspect(self) -> list[Violation]:
        """Foreign objects among the blobs. Blocks."""
        return volume.inspect(self._quick, self._place)

    def presigned(self, key: str, *, disposition: str, seconds: int) -> str | None:
        """See `stores.DirectDownloads`."""
        if self._signer is None:
            return None
        return self._signer.download(self._name(self._path(key)), disposition, seconds=seconds)

    # --- details ------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        if not KEY.fullmatch(key):  # a poisoned row must not become a path
            raise StorageFailed("not a blob key")
        return f"blobs/{key[:2]}/{key}"

    def _name(self, path: str) -> str:
        """The object's name in the bucket."""
        return f"{self._prefix}/{path}".lstrip("/")

    @contextlib.asynccontextmanager
    async def _calling(self, what: str, seconds: float = ANSWER_SECONDS, *, key: str = "") -> AsyncGenerator[None]:
        """Around a request: refused if the store is known to be down, bounded, translated, counted."""
        self._breaker.require_closed()
        with self._counted(what, key):
            async with asyncio.timeout(seconds):
                yield

    @contextlib.contextmanager
    def _counted(self, what: str, key: str = "") -> Iterator[None]:
        try:
            with translate_s3_errors(what, key):
                yield
        except BlobStoreUnavailable:
            self._breaker.record_failure()
            raise
        except DomainError:
            self._breaker.record_success()  # it answered
            raise
        self._breaker.record_success()

    def _run(self, function: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(function, *args))


def _bare(tag: str | None) -> str:
    return (tag or "").strip('"')
