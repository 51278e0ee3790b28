"""Operations on vector stores, attached files and file batches. Search is in `search.py`, indexing in `indexing.py`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from filestead.domain import attempts
from filestead.domain.access import Principal
from filestead.domain.attempts import ONLY_ATTEMPT, Attempt
from filestead.domain.errors import AttachedFileNotFound, VectorStoreNotFound
from filestead.domain.rate_limit import RateDecision
from filestead.domain.vector_stores.interfaces import VectorStoreRepository
from filestead.domain.vector_stores.model import (
    AttachedFile,
    Attributes,
    FileBatch,
    IndexStatus,
    ItemPage,
    NewAttachment,
    NewStore,
    PageRequest,
    StoreChanges,
    VectorStore,
)


class NewStoreForm(NamedTuple):
    """What a client says of a vector store to create."""

    name: str | None
    description: str | None
    expires_after_days: int | None
    metadata: dict[str, str]


class CreatedStore(NamedTuple):
    """A vector store, and whether an earlier request has created it, of which this one is a repetition."""

    store: VectorStore
    replayed: bool


class VectorStores:
    """The operations of one installation; errors are those of the repository."""

    def __init__(
        self,
        repository: VectorStoreRepository,
        *,
        new_id: Callable[[str], str],
        attached_files_per_minute: int,
        added: Callable[[], None],
        match_retries: bool = True,
    ) -> None:
        """`added` is called when jobs were added, so that a worker of this process need not wait for its next poll.

        `match_retries` recognizes creations and deletions that are sent again.
        """
        self._repository = repository
        self._new_id = new_id
        self._rate = attached_files_per_minute
        self._added = added
        self._match_retries = match_retries

    async def create(
        self,
        principal: Principal,
        form: NewStoreForm,
        files: Sequence[NewAttachment],
        *,
        attempt: Attempt = ONLY_ATTEMPT,
    ) -> CreatedStore:
        """Create a store and attach files, all or nothing. One that is sent again returns the earlier store."""
        retry = None
        if self._match_retries:
            fingerprint = attempts.fingerprint_of("vector_store", form, *files)
            retry = attempts.creation(attempt, principal.key_id, fingerprint)
        new = NewStore(self._new_id("vs_"), *form, retry=retry)
        store = await self._repository.create(
            principal.project_id, principal.organization_id, new, files, rate=self._rate
        )
        if files:
            self._added()
        return CreatedStore(store, replayed=store.id != new.id)

    async def get(self, principal: Principal, store_id: str) -> VectorStore:
        """Return a store of the principal's project."""
        return await self._repository.get(principal.project_id, store_id)

    async def list(self, principal: Principal, request: PageRequest) -> ItemPage[VectorStore]:
        """Return a page of the project's stores."""
        return await self._repository.page(principal.project_id, request)

    async def update(self, principal: Principal, store_id: str, changes: StoreChanges) -> VectorStore:
        """Change a store."""
        return await self._repository.update(principal.project_id, store_id, changes)

    async def delete(self, principal: Principal, store_id: str, *, is_retry: bool = False) -> None:
        """Delete a store; its files stay. With `is_retry` it may have been deleted a short while ago."""
        try:
            await self._repository.delete(principal.project_id, store_id)
        except VectorStoreNotFound:
            if not (is_retry and await self._was_deleted(principal, store_id)):
                raise

    async def attach(
        self, principal: Principal, store_id: str, attachment: NewAttachment
    ) -> tuple[AttachedFile, RateDecision]:
        """Attach a file."""
        ids = (principal.project_id, principal.organization_id)
        attached = await self._repository.attach(*ids, store_id, attachment, rate=self._rate)
        self._added()
        return attached

    async def create_batch(
        self, principal: Principal, store_id: str, files: Sequence[NewAttachment]
    ) -> tuple[FileBatch, RateDecision]:
        """Attach files together."""
        ids = (principal.project_id, principal.organization_id)
        batch_id = self._new_id("vsfb_")
        created = await self._repository.attach_batch(*ids, store_id, batch_id, files, rate=self._rate)
        self._added()
        return created

    async def get_file(self, principal: Principal, store_id: str, file_id: str) -> AttachedFile:
        """Return an attached file."""
        return await self._repository.get_file(principal.project_id, store_id, file_id)

    async def list_files(
        self,
        principal: Principal,
        store_id: str,
        request: PageRequest,
        *,
        status: IndexStatus | None = None,
        batch_id: str | None = None,
    ) -> ItemPage[AttachedFile]:
        """Return a page of the files of a store or batch."""
        return await self._repository.page_files(
            principal.project_id, store_id, request, status=status, batch_id=batch_id
        )

    async def update_file(
        self, principal: Principal, store_id: str, file_id: str, attributes: Attributes
    ) -> AttachedFile:
        """Replace the attributes of an attached file."""
        return await self._repository.update_file(principal.project_id, store_id, file_id, attributes)

    async def detach(self, principal: Principal, store_id: str, file_id: str, *, is_retry: bool = False) -> None:
        """Detach a file; the file itself stays. With `is_retry` it may have been detached a short while ago."""
        try:
            await self._repository.detach(principal.project_id, store_id, file_id)
        except AttachedFileNotFound:
            if not (is_retry and await self._was_deleted(principal, store_id, file_id)):
                raise

    async def _was_deleted(self, principal: Principal, *ids: str) -> bool:
        return self._match_retries and await self._repository.was_deleted(principal.project_id, *ids)

    async def text(self, principal: Principal, store_id: str, file_id: str) -> str:
        """Return the text that was extracted from a file; empty unless it is completed."""
        chunks = await self._repository.text(principal.project_id, store_id, file_id)
        return "".join(chunk.text[chunk.overlap :] for chunk in chunks)

    async def get_batch(self, principal: Principal, store_id: str, batch_id: str) -> FileBatch:
        """Return a file batch."""
        return await self._repository.get_batch(principal.project_id, store_id, batch_id)

    async def cancel_batch(self, principal: Principal, store_id: str, batch_id: str) -> FileBatch:
        """Cancel the files of a batch that are in progress."""
        return await self._repository.cancel_batch(principal.project_id, store_id, batch_id)
