"""Small uploads: received as a whole, then counted, charged, stored and made visible by one transaction.

Nothing is recorded before the content has arrived and passed every check, so nothing needs to be undone.
"""

import asyncio
from collections.abc import Callable

from filestead.domain.access import Principal
from filestead.domain.attempts import Attempt
from filestead.domain.errors import RateLimited, StorageFailed, StoreUnavailable
from filestead.domain.files.digester import SMALL_BLOCK
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.model import Created, InlineUpload, Limits, UploadSource
from filestead.domain.files.validation import UploadValidation
from filestead.domain.retry import resolve_outcome


class InlineUploads:
    """Creates files whose content is stored in the database."""

    def __init__(
        self, repository: FileRepository, validation: UploadValidation, limits: Limits, new_key: Callable[[], str]
    ) -> None:
        self._repository = repository
        self._validation = validation
        self._limits = limits
        self._new_key = new_key

    async def create(self, principal: Principal, source: UploadSource, attempt: Attempt) -> Created:
        """As `Files.create`. An upload that fails counts against the rate, too, and `RateLimited` comes first."""
        try:
            upload = await self._receive(principal, source, attempt)
            return await self._store(upload)
        except (RateLimited, StoreUnavailable, StorageFailed):
            raise
        except BaseException:
            counted = self._repository.count_upload(principal.user_id, rate=self._limits.uploads_per_minute)
            await asyncio.shield(counted)
            raise

    async def _receive(self, principal: Principal, source: UploadSource, attempt: Attempt) -> InlineUpload:
        fields = await source.head()
        digester = self._validation.begin(principal, fields, SMALL_BLOCK)
        content = b"".join([chunk async for chunk in source.chunks()])
        await digester.digest_whole(content)
        form = await source.form()
        completed = self._validation.complete(
            *(principal, fields, form, digester), blob_key=self._new_key(), attempt=attempt
        )
        return InlineUpload(completed, content, principal.user_id)

    async def _store(self, upload: InlineUpload) -> Created:
        async def store() -> Created:
            limits = self._limits
            return await self._repository.create_inline(upload, rate=limits.uploads_per_minute, quota=limits.quota)

        return await resolve_outcome(store)
