"""The five operations on files, and the only place that knows the order of their steps.

Upload: record it as pending (`begin_upload`), store and sync its bytes (`put`), validate it, make it visible
(`publish`), respond. A small one is one transaction (`inline.py`). Delete is the reverse: one transaction makes the
file invisible and marks its blob for deletion, the response is sent, then the blob is deleted.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from filestead.domain import attempts
from filestead.domain.access import Principal
from filestead.domain.attempts import ONLY_ATTEMPT, Attempt
from filestead.domain.blobs import BlobStore
from filestead.domain.errors import (
    BlobStoreUnavailable,
    DomainError,
    FileNotFound,
    FileTooLarge,
    OutcomeUnknown,
    StoreUnavailable,
)
from filestead.domain.files import purposes
from filestead.domain.files.content import ContentReader, delete_blobs
from filestead.domain.files.digester import RunInThread, UploadDigester, block_bytes
from filestead.domain.files.inline import InlineUploads
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.model import (
    Admission,
    CompletedUpload,
    Created,
    File,
    Page,
    PendingUpload,
    UploadSource,
)
from filestead.domain.files.validation import UploadPolicy, UploadValidation
from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.quota import QuotaReservation, first_step
from filestead.domain.retry import retry_until_deadline

LEASE_SECONDS = 120
"""Lease of a pending upload. Its process renews it four times as often while the upload streams."""


class Files:
    """The five operations on the files of a project."""

    def __init__(
        self,
        repository: FileRepository,
        blobs: BlobStore,
        policy: UploadPolicy,
        *,
        new_file_id: Callable[[], str],
        new_blob_key: Callable[[], str],
        new_inline_key: Callable[[], str],
        line_decoders: Decoders,
        run_in_thread: RunInThread,
        run_line_checks: RunInThread,
    ) -> None:
        """`run_line_checks` runs one function at a time: line checks hold the interpreter lock and would compete."""
        self._repository = repository
        self._blobs = blobs
        self._policy = policy
        self._new_blob_key = new_blob_key
        self._validation = UploadValidation(
            policy,
            new_file_id=new_file_id,
            line_decoders=line_decoders,
            run_in_thread=run_in_thread,
            run_line_checks=run_line_checks,
        )
        self._inline = InlineUploads(repository, self._validation, policy.limits, new_inline_key)
        self._content = ContentReader(repository, blobs, run_in_thread)
        self._streaming: set[str] = set()

    async def create(self, principal: Principal, source: UploadSource, *, attempt: Attempt = ONLY_ATTEMPT) -> Created:
        """Store an upload and make it visible. When this returns, the file survives a crash.

        An upload that repeats an earlier one, under its idempotency key or as `attempts` says, returns the earlier
        file. Raises what the form reader raises, and the errors of `errors.py` under "uploads", "idempotency keys",
        "limits" and "storage". If it raises, nothing of the upload remains.
        """
        limits = self._policy.limits
        if source.min_size > limits.max_file_bytes:
            raise FileTooLarge(limits.max_file_bytes)
        if source.max_size is not None and source.max_size <= self._policy.inline_bytes:
            return await self._inline.create(principal, source, attempt)
        key = self._new_blob_key()
        upload = PendingUpload(
            blob_key=key,
            project_id=principal.project_id,
            organization_id=principal.organization_id,
            user_id=principal.user_id,
            min_size=source.min_size,
            reserve_bytes=first_step(source.max_size),
            idempotency_key=attempt.idempotency_key,
        )
        admission = await self._repository.begin_upload(
            upload, rate=limits.uploads_per_minute, quota=limits.quota, lease_seconds=LEASE_SECONDS
        )
        self._streaming.add(key)
        stored = not admission.repeats
        try:
            completed = await self._receive(principal, source, upload, admission, attempt)
            file = await self._publish(completed)
        except BaseException as error:
            if stored:
                await asyncio.shield(self._discard(key, delete_blob=not isinstance(error, BlobStoreUnavailable)))
            raise
        finally:
            self._streaming.discard(key)
        replayed = file.id != completed.id
        if replayed and stored:
            await asyncio.shield(self._discard(key))
        return Created(file, admission.rate, replayed)

    async def _publish(self, completed: CompletedUpload) -> File:
        """Publish, and retry while the database is unavailable: the bytes need not be sent again.

        Publishing is idempotent, so a retry also resolves a commit whose outcome is unknown.
        """
        quota = self._policy.limits.quota
        return await retry_until_deadline(lambda: self._repository.publish(completed, quota=quota), StoreUnavailable)

    async def _receive(
        self,
        principal: Principal,
        source: UploadSource,
        upload: PendingUpload,
        admission: Admission,
        attempt: Attempt,
    ) -> CompletedUpload:
        """Store the bytes while they are counted, hashed and checked, then validate the whole form."""
        fields = await source.head()
        digester = self._validation.begin(principal, fields, block_bytes(len(self._streaming)))
        await self._store(source, digester, upload, admission)
        form = await source.form()
        return self._validation.complete(
            *(principal, fields, form, digester), blob_key=upload.blob_key, attempt=attempt
        )

    async def _store(
        self, source: UploadSource, digester: UploadDigester, upload: PendingUpload, admission: Admission
    ) -> None:
        """Store the bytes. Those of a repeated upload are only hashed, since its file exists."""
        if admission.repeats:
            async for _ in digester.digest(source.chunks()):
                pass
            return

        def reserve(more: int) -> Awaitable[None]:
            quota = self._policy.limits.quota
            return retry_until_deadline(lambda: self._repository.reserve(upload, more, quota=quota), StoreUnavailable)

        reservation = QuotaReservation(reserve, held=admission.reserved_bytes, at_most=source.max_size)
        async with (
            contextlib.aclosing(reservation.cover(source.chunks())) as covered,
            contextlib.aclosing(digester.digest(covered)) as chunks,
        ):
            await self._blobs.put(upload.blob_key, chunks)

    async def _discard(self, key: str, *, delete_blob: bool = True) -> None:
        """Undo an upload that failed. If that fails too, its lease expires and a sweep removes it.

        The database decides first: if the response to `publish` was lost, the file may be visible and must stay. A
        publication in progress cannot commit after `abandon`. `delete_blob` is False after a store has timed out, so
        that nobody waits for it again.
        """
        with contextlib.suppress(DomainError):
            if await self._repository.abandon(key) and delete_blob:
                await self._delete_blob(key)

    async def _delete_blob(self, key: str) -> None:
        await self._blobs.delete(key)
        await self._repository.delete_blob_rows([key])

    @property
    def is_receiving(self) -> bool:
        """Whether uploads are in progress in this process, or being undone."""
        return bool(self._streaming)

    async def renew_leases(self) -> None:
        """Renew the leases of the uploads of this process; to be called every `LEASE_SECONDS / 4`."""
        if self._streaming:
            await self._repository.renew(sorted(self._streaming), lease_seconds=LEASE_SECONDS)

    async def get(self, principal: Principal, file_id: str) -> File:
        """Return a file of the principal's project, or raise `FileNotFound`."""
        return await self._repository.get(principal.project_id, file_id)

    async def list(
        self, principal: Principal, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Page:
        """Return a page of the project's files. `UnknownPurpose` takes precedence over `CursorNotFound`."""
        if purpose is not None:
            purposes.require_known(purpose)
        return await self._repository.page(
            principal.project_id, purpose=purpose, after=after, limit=limit, newest_first=newest_first
        )

    async def get_for_download(self, principal: Principal, file_id: str) -> File:
        """Return a file whose content may be read, or raise `FileNotFound`, then `DownloadRefused`."""
        file = await self.get(principal, file_id)
        purposes.require_download(file.purpose, as_hosted=self._policy.downloads_as_hosted)
        return file

    def read(self, file: File, start: int, end: int) -> AsyncGenerator[bytes]:
        """Yield exactly the bytes `start` to `end` of the content, or raise `FileCorrupt`."""
        return self._content.read(file, start, end)

    async def delete(self, principal: Principal, file_id: str, *, is_retry: bool = False) -> File | None:
        """Delete a file, or raise `FileNotFound`. Its blob is deleted by `delete_content` or by the next sweep.

        With `is_retry` it returns None for a file that was deleted a short while ago. If the outcome of the commit is
        unknown and a retry finds no file, the first attempt has deleted it.
        """
        found: File | None = None

        async def delete() -> File:
            nonlocal found
            try:
                return await self._repository.delete(principal.project_id, file_id)
            except OutcomeUnknown as unknown:
                if isinstance(unknown.result, File):
                    found = unknown.result
                raise
            except FileNotFound:
                if found is None:
                    raise
                return found

        try:
            return await retry_until_deadline(delete, OutcomeUnknown)
        except FileNotFound:
            if is_retry and self._policy.match_retries and await self._was_deleted(principal, file_id):
                return None
            raise

    async def _was_deleted(self, principal: Principal, file_id: str) -> bool:
        """Whether an earlier attempt has deleted the file; one that was in progress has committed before it is gone."""
        seconds = attempts.DELETION_SECONDS
        return await self._repository.was_deleted(principal.project_id, file_id, within_seconds=seconds)

    async def delete_content(self, file: File) -> None:
        """Delete the blobs of a deleted file. If that fails, or a batch needs them still, a later sweep does it."""
        with contextlib.suppress(DomainError):
            if await self._repository.is_pinned(file.blob_key):
                return
            if file.parts is not None:
                parts = await self._repository.content_parts(file.blob_key)
                await delete_blobs(self._repository, self._blobs, {part.blob_key for part in parts})
            await self._delete_blob(file.blob_key)
