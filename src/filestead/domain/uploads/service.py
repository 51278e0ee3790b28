"""The four operations on uploads in parts, and the only place that knows the order of their steps.

Part: record it as pending (`begin_part`), store and sync its bytes (`put`), add it to its upload (`accept_part`),
respond. Complete is one transaction that moves no bytes: the file consists of the blobs of its parts. Only to compare
an MD5 that the client sends, the parts are read once.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from filestead.domain.access import Principal
from filestead.domain.blobs import BlobStore
from filestead.domain.errors import (
    BlobStoreUnavailable,
    ChecksumMismatch,
    DomainError,
    EmptyPart,
    FileTooLarge,
    PartTooLarge,
    StoreUnavailable,
    UploadOverflow,
)
from filestead.domain.files import expiry, filenames, purposes
from filestead.domain.files.content import ContentReader, delete_blobs
from filestead.domain.files.digester import RunInThread, UploadDigester, block_bytes
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.model import ContentPart, ExpiresAfter, Limits
from filestead.domain.files.service import LEASE_SECONDS
from filestead.domain.jsonl.checks import LineChecks
from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.rate_limit import RateDecision
from filestead.domain.retry import resolve_outcome, retry_until_deadline
from filestead.domain.uploads.interfaces import UploadRepository
from filestead.domain.uploads.model import (
    MAX_PART_BYTES,
    AcceptedPart,
    CompletedUpload,
    Completion,
    EndedUpload,
    NewUpload,
    Part,
    PartSource,
    PendingPart,
    ReceivedPart,
    Room,
    Upload,
)


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A request to create an upload."""

    filename: str
    purpose: str
    bytes: int
    expires_after: ExpiresAfter | None


class Uploads:
    """The operations on uploads of a project."""

    def __init__(
        self,
        repository: UploadRepository,
        files: FileRepository,
        blobs: BlobStore,
        limits: Limits,
        *,
        new_random: Callable[[], str],
        new_file_id: Callable[[], str],
        new_blob_key: Callable[[], str],
        line_decoders: Decoders,
        run_in_thread: RunInThread,
        check_purposes: frozenset[str],
        completed: Callable[[], object],
    ) -> None:
        """`new_random` makes ends of ids. A job checks files of `check_purposes`; `completed` is called for each."""
        self._repository = repository
        self._files = files
        self._blobs = blobs
        self._limits = limits
        self._new_random = new_random
        self._new_file_id = new_file_id
        self._new_blob_key = new_blob_key
        self._line_decoders = line_decoders
        self._run_in_thread = run_in_thread
        self._check_purposes = check_purposes
        self._completed = completed
        self._content = ContentReader(files, blobs, run_in_thread)
        self._streaming: set[str] = set()

    async def create(self, principal: Principal, form: UploadForm) -> tuple[Upload, RateDecision]:
        """Create an upload, and reserve its bytes in the quota.

        Its content is not checked, as at the hosted service: neither the first line of a batch file, nor an extension.
        """
        purposes.require_creatable(form.purpose, principal)
        expiry.check(form.expires_after)
        new = NewUpload(
            random=self._new_random(),
            project_id=principal.project_id,
            organization_id=principal.organization_id,
            user_id=principal.user_id,
            filename=filenames.clean(form.filename),
            purpose=form.purpose,
            bytes=form.bytes,
            file_lifetime=expiry.lifetime(form.purpose, form.expires_after, self._limits),
        )
        limits = self._limits
        return await self._repository.create(new, rate=limits.uploads_per_minute, quota=limits.quota)

    # --- parts ----------------------------------------------------------------------------------------------------

    async def add_part(
        self,
        principal: Principal,
        upload_id: str,
        source: PartSource,
        *,
        repeated: bool,
        idempotency_key: str | None = None,
    ) -> Part:
        """Store a part. When this returns, it survives a crash; if it raises, nothing of it remains.

        `repeated`: the client sends it again, and so it may be stored already. With a key that is known, see
        `repetition`.
        """
        if source.min_size > MAX_PART_BYTES:
            raise PartTooLarge(MAX_PART_BYTES)
        key = self._new_blob_key()
        pending = PendingPart(principal.project_id, upload_id, key, idempotency_key)
        room = await self._repository.begin_part(pending, lease_seconds=LEASE_SECONDS)
        self._streaming.add(key)
        try:
            received = await self._receive(pending, source, room, repeated=repeated)
            accepted = await self._accept(received)
        except BaseException as error:
            await asyncio.shield(self._discard(key, delete_blob=not isinstance(error, BlobStoreUnavailable)))
            raise
        finally:
            self._streaming.discard(key)
        if not accepted.stored:
            await asyncio.shield(self._discard(key))
        return accepted.part

    async def _receive(self, pending: PendingPart, source: PartSource, room: Room, *, repeated: bool) -> ReceivedPart:
        """Store the bytes while they are counted and hashed."""
        # The room of a repeated part may be taken by its first copy; that is known when it has been compared.
        limit = MAX_PART_BYTES if repeated or room.is_known else min(MAX_PART_BYTES, room.left)
        if source.min_size > limit:
            raise UploadOverflow(pending.upload_id, room.declared, room.received)
        await source.begin()
        no_checks = LineChecks(self._line_decoders, frozenset())
        block = block_bytes(len(self._streaming))
        digester = UploadDigester(limit, no_checks, self._run_in_thread, self._run_in_thread, block)
        try:
            async with contextlib.aclosing(digester.digest(source.chunks())) as chunks:
                await self._blobs.put(pending.blob_key, chunks)
        except FileTooLarge:
            if limit < MAX_PART_BYTES:
                raise UploadOverflow(pending.upload_id, room.declared, room.received) from None
            raise PartTooLarge(MAX_PART_BYTES) from None
        await source.finish()
        if not digester.size:
            raise EmptyPart
        return ReceivedPart(
            random=self._new_random(),
            project_id=pending.project_id,
            upload_id=pending.upload_id,
            blob_key=pending.blob_key,
            bytes=digester.size,
            sha256=digester.sha256,
            repeated=repeated,
            idempotency_key=pending.idempotency_key,
        )

    async def _accept(self, received: ReceivedPart) -> AcceptedPart:
        """Add the part, and retry while the database is unavailable: adding it again returns it again."""
        return await retry_until_deadline(lambda: self._repository.accept_part(received), StoreUnavailable)

    async def _discard(self, key: str, *, delete_blob: bool = True) -> None:
        """Undo a part that failed, unless it was added after all. If that fails, too, a sweep removes it."""
        with contextlib.suppress(DomainError):
            if await self._files.abandon(key) and delete_blob:
                await self._blobs.delete(key)
                await self._files.delete_blob_rows([key])

    @property
    def is_receiving(self) -> bool:
        """Whether parts are in progress in this process, or being undone."""
        return bool(self._streaming)

    async def renew_leases(self) -> None:
        """Renew the leases of the parts that this process receives; to be called every `LEASE_SECONDS / 4`."""
        if self._streaming:
            await self._files.renew(sorted(self._streaming), lease_seconds=LEASE_SECONDS)

    # --- complete and cancel --------------------------------------------------------------------------------------

    async def complete(
        self, principal: Principal, upload_id: str, part_ids: Sequence[str], md5: str | None
    ) -> CompletedUpload:
        """Make a file of the listed parts, in this order. `md5` is the hexadecimal digest that the content must have.

        Completing again with the same parts returns the same file: the response to the first request may be lost.
        """
        sha256 = None
        if md5 is not None:
            parts = await self._repository.arrange(principal.project_id, upload_id, part_ids)
            if parts is not None:
                sha256 = await self._verify_md5(upload_id, parts, md5)
        completion = Completion(
            project_id=principal.project_id,
            upload_id=upload_id,
            part_ids=part_ids,
            file_id=self._new_file_id(),
            blob_key=self._new_blob_key(),
            sha256=sha256,
            check_purposes=self._check_purposes,
        )
        done = await resolve_outcome(lambda: self._repository.complete(completion))
        self._completed()
        return done

    async def _verify_md5(self, upload_id: str, parts: Sequence[ContentPart], expected: str) -> str:
        """Read all parts and compare the MD5; returns the SHA-256, which then needs no job."""
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        size = sum(part.bytes for part in parts)
        async with contextlib.aclosing(self._content.read_parts(upload_id, parts, 0, size)) as blocks:
            async for block in blocks:
                await asyncio.gather(self._run_in_thread(md5.update, block), self._run_in_thread(sha256.update, block))
        if md5.hexdigest() != expected:
            raise ChecksumMismatch(expected, md5.hexdigest())
        return sha256.hexdigest()

    async def cancel(self, principal: Principal, upload_id: str) -> EndedUpload:
        """Cancel an upload: it takes no more parts, and its quota is free."""
        return await retry_until_deadline(
            lambda: self._repository.cancel(principal.project_id, upload_id), StoreUnavailable
        )

    async def delete_unused(self, keys: Collection[str]) -> None:
        """Delete the blobs of parts that are not needed any more. What fails is left to the next sweep."""
        with contextlib.suppress(DomainError):
            await delete_blobs(self._files, self._blobs, keys)
