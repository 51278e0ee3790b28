"""Operations on batches: create, retrieve, list, cancel. `results.py` reads results, `retrying.py` repeats lines."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from filestead.domain import attempts
from filestead.domain.access import Principal
from filestead.domain.attempts import ONLY_ATTEMPT, Attempt, RetryRecord
from filestead.domain.batches.interfaces import BatchRepository
from filestead.domain.batches.model import Batch, NewBatch
from filestead.domain.errors import NoUpstream


class NewBatchForm(NamedTuple):
    """What a client says of a batch to create."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Mapping[str, str] | None = None
    output_expires_after_seconds: int | None = None


class CreatedBatch(NamedTuple):
    """A batch, and whether an earlier request has created it, of which this one is a repetition."""

    batch: Batch
    replayed: bool


class Batches:
    """The operations of one installation; errors are those of the repository."""

    def __init__(
        self,
        repository: BatchRepository,
        *,
        new_random: Callable[[], str],
        windows: Mapping[str, int],
        has_upstream: Callable[[], bool],
        batches_per_hour: int,
        added: Callable[[], None],
        match_retries: bool = True,
    ) -> None:
        """`new_random` makes ends of ids. `windows` are the completion windows and their seconds.

        `added` is called when a job was added or is due now, so that a worker of this process need not wait for its
        next poll. `match_retries` recognizes creations that are sent again.
        """
        self.windows = tuple(windows)
        self._repository = repository
        self._new_random = new_random
        self._window_seconds = windows
        self._has_upstream = has_upstream
        self._rate = batches_per_hour
        self._added = added
        self._match_retries = match_retries

    async def create(
        self,
        principal: Principal,
        form: NewBatchForm,
        *,
        attempt: Attempt = ONLY_ATTEMPT,
        retry_of: str | None = None,
    ) -> CreatedBatch:
        """Create a batch. `form.completion_window` is one of `windows`. Raises `NoUpstream`.

        The same idempotency key with the same form, or for `retry_of` the same batch, returns the earlier batch.
        So does a request that is sent again without a key, as `attempts` says.
        """
        if not self._has_upstream():
            raise NoUpstream
        key = attempt.idempotency_key
        new = NewBatch(
            random=self._new_random(),
            endpoint=form.endpoint,
            completion_window=form.completion_window,
            window_seconds=self._window_seconds[form.completion_window],
            input_file_id=form.input_file_id,
            metadata=form.metadata,
            output_expires_after_seconds=form.output_expires_after_seconds,
            idempotency_key=key,
            fingerprint=None if key is None else _fingerprint(form, retry_of),
            retry_of=retry_of,
            retry=self._retry_record(principal, form, attempt),
        )
        batch = await self._repository.create(
            principal.project_id, principal.organization_id, principal.user_id, new, rate=self._rate
        )
        self._added()
        return CreatedBatch(batch, replayed=not batch.id.endswith(new.random))

    def _retry_record(self, principal: Principal, form: NewBatchForm, attempt: Attempt) -> RetryRecord | None:
        if not self._match_retries:
            return None
        return attempts.creation(attempt, principal.key_id, attempts.fingerprint_of("batch", form))

    async def find_retry(self, principal: Principal, batch_id: str, idempotency_key: str) -> Batch | None:
        """Return the batch that an earlier request with this key has made to repeat lines of `batch_id`.

        Raises `BatchKeyReused` if that request was another one.
        """
        fingerprint = _fingerprint(None, batch_id)
        return await self._repository.find_by_key(principal.project_id, idempotency_key, fingerprint)

    async def get(self, principal: Principal, batch_id: str) -> Batch:
        """Return a batch of the principal's project."""
        return await self._repository.get(principal.project_id, batch_id)

    async def list(self, principal: Principal, *, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """Return a page of the project's batches, newest first, and whether there are more. `limit` may be 0."""
        batches, more = await self._repository.page(principal.project_id, after=after, limit=max(limit, 1))
        # A page of nothing has no last id to go on from, so it must not announce another one.
        return (batches, more) if limit else ([], False)

    async def cancel(self, principal: Principal, batch_id: str) -> Batch:
        """Cancel a batch. Lines in flight may still complete."""
        batch = await self._repository.cancel(principal.project_id, batch_id)
        self._added()
        return batch


def _fingerprint(form: NewBatchForm | None, retry_of: str | None) -> str:
    """Of a request; one to repeat lines says nothing but the batch."""
    request = form if retry_of is None else {"retry_of": retry_of}
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
