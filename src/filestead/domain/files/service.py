"""Files: create, list, get, read, delete. The order of the steps lives here and only here.

Upload: intent recorded (`begin`) -> bytes stored and synced (`put`) -> judged -> made visible (`publish`) -> answered.
Delete runs the other way: made invisible and handed to the sweep in one transaction -> answered -> bytes removed.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from filestead.domain.access import Principal
from filestead.domain.blobs import BlobStore
from filestead.domain.errors import (
    BlobNotFound,
    FaultyLines,
    FileCorrupt,
    FileNotFound,
    FilesteadError,
    FileTooLarge,
    NotBatchInput,
    NotTrainingData,
    OutcomeUnknown,
    StoreUnavailable,
)
from filestead.domain.files import expiry, filenames, idempotency, purposes
from filestead.domain.files.interfaces import FileRecords
from filestead.domain.files.metering import Meter, Submit, block_bytes
from filestead.domain.files.model import (
    Admission,
    Created,
    Draft,
    File,
    FileStatus,
    Intent,
    Limits,
    Page,
    UploadHead,
    UploadSource,
    UploadTerms,
)
from filestead.domain.jsonl.checks import LineChecks
from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.jsonl.kinds import ContentCheck
from filestead.domain.jsonl.report import LineReport
from filestead.domain.quota import QuotaReservation, first_step

LEASE_SECONDS = 120
"""How long an upload may be unheard of before a sweep takes it; renewed four times as often while it streams."""

PATIENCE_SECONDS = 30
"""How long an upload whose bytes are stored waits for the records, and how long an unknown outcome is looked into."""

PAUSES = (0.1, 0.2, 0.5, 1.0)

T = TypeVar("T")

JSONL_CONTENTS = frozenset({ContentCheck.BATCH, ContentCheck.TRAINING, ContentCheck.EVALS})


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has chosen. `validation` is `openai`, `advise`, `strict` or `hosted`."""

    limits: Limits
    validation: str
    downloads_as_hosted: bool


@dataclass(frozen=True, slots=True)
class Tools:
    """What the rules need from outside: fresh ids, decoders of lines, and threads to work on.

    `submit_lines` runs one function at a time: checks of lines hold the interpreter, and would only disturb each other.
    """

    new_file_id: Callable[[], str]
    new_blob_key: Callable[[], str]
    line_decoders: Decoders
    submit: Submit
    submit_lines: Submit


class Files:
    """The five operations on the files of a project."""

    def __init__(self, records: FileRecords, blobs: BlobStore, rules: Rules, tools: Tools) -> None:
        self._records = records
        self._blobs = blobs
        self._rules = rules
        self._tools = tools
        self._streaming: set[str] = set()

    async def create(
        self, principal: Principal, source: UploadSource, *, idempotency_key: str | None = None
    ) -> Created:
        """Store an upload and make it visible. When this returns, the file survives a crash.

        An upload that repeats an earlier one under its idempotency key gets that one's file. Raises what the form's
        reader raises, and the errors of `errors.py` under "what an upload may be", "idempotency keys", "limits" and
        "storage". Whatever it raises, nothing of the upload stays behind.
        """
        limits = self._rules.limits
        if source.at_least_bytes > limits.max_file_bytes:
            raise FileTooLarge(limits.max_file_bytes)
        key = self._tools.new_blob_key()
        intent = Intent(
            blob_key=key,
            project_id=principal.project_id,
            organization_id=principal.organization_id,
            user_id=principal.user_id,
            at_least_bytes=source.at_least_bytes,
            reserve_bytes=first_step(source.at_most_bytes),
            idempotency_key=idempotency_key,
        )
        admission = await self._records.begin(
            intent, rate=limits.uploads_per_minute, quota=limits.quota, lease_seconds=LEASE_SECONDS
        )
        self._streaming.add(key)
        stored = not admission.repeats
        try:
            draft = await self._receive(principal, source, intent, admission)
            file = await self._publish(draft)
        except BaseException as error:
            if stored:
                await asyncio.shield(self._discard(key, store_answers=not isinstance(error, StoreUnavailable)))
            raise
        finally:
            self._streaming.discard(key)
        replayed = file.id != draft.id
        if replayed and stored:
            await asyncio.shield(self._discard(key))
        return Created(file, admission.rate, replayed)

    async def _publish(self, draft: Draft) -> File:
        """Publish; and again while the records do not answer, since the bytes need not be sent twice.

        A draft makes one file, however often it is published. So this also finds out what became of a publication
        whose outcome is unknown.
        """
        return await _insist(lambda: self._records.publish(draft, quota=self._rules.limits.quota), StoreUnavailable)

    async def _receive(self, principal: Principal, source: UploadSource, intent: Intent, admission: Admission) -> Draft:
        """Store the bytes while counting, hashing and checking them, then judge the whole form."""
        head = await source.head()
        filename = filenames.clean(head.filename)
        if head.expires_after is not None and head.expires_after.complete:
            expiry.check(head.expires_after)
        meter = self._meter(principal, head)
        await self._store(source, meter, intent, admission)
        terms = await source.terms()
        details = self._judge(principal, filename, terms, meter)
        binding = None
        if intent.idempotency_key is not None:
            binding = idempotency.bind(
                intent.idempotency_key, filename=filename, terms=terms, size=meter.size, sha256=meter.sha256
            )
        return Draft(
            id=self._tools.new_file_id(),
            blob_key=intent.blob_key,
            project_id=intent.project_id,
            organization_id=intent.organization_id,
            filename=filename,
            purpose=terms.purpose,
            bytes=meter.size,
            sha256=meter.sha256,
            expires_after_seconds=expiry.lifetime(terms.purpose, terms.expires_after, self._rules.limits),
            # Always: clients poll until a file is processed. Faults are told beside it.
            status=FileStatus.PROCESSED,
            status_details=details,
            binding=binding,
        )

    async def _store(self, source: UploadSource, meter: Meter, intent: Intent, admission: Admission) -> None:
        """Store the bytes; those of a repetition are only looked at, as the file that they made is there."""
        if admission.repeats:
            async for _ in meter.measure(source.chunks()):
                pass
            return

        def reserve(more: int) -> Awaitable[None]:
            quota = self._rules.limits.quota
            return _insist(lambda: self._records.reserve(intent, more, quota=quota), StoreUnavailable)

        reservation = QuotaReservation(reserve, held=admission.reserved_bytes, at_most=source.at_most_bytes)
        async with (
            contextlib.aclosing(reservation.cover(source.chunks())) as covered,
            contextlib.aclosing(meter.measure(covered)) as chunks,
        ):
            await self._blobs.put(intent.blob_key, chunks)

    def _meter(self, principal: Principal, head: UploadHead) -> Meter:
        """What watches the bytes: for a purpose that is not yet known, every check that may turn out to be needed."""
        contents = JSONL_CONTENTS
        if head.purpose is not None:
            contents = frozenset({purposes.creatable(head.purpose, principal).content}) & JSONL_CONTENTS
        limit = purposes.size_limit(head.purpose, self._rules.limits)
        checks = LineChecks(self._tools.line_decoders, contents, hosted=self._rules.validation == "hosted")
        tools = self._tools
        return Meter(limit, checks, tools.submit, tools.submit_lines, block_bytes(len(self._streaming)))

    def _judge(self, principal: Principal, filename: str, terms: UploadTerms, meter: Meter) -> str | None:
        """Refuse what may not be; otherwise the `status_details`."""
        rule = purposes.creatable(terms.purpose, principal)
        expiry.check(terms.expires_after)
        meter.require_at_most(purposes.size_limit(terms.purpose, self._rules.limits))
        if rule.content is ContentCheck.EXTENSION:
            purposes.require_extension(filename)
        if rule.content not in JSONL_CONTENTS:
            return None
        return self._judge_lines(rule.content, meter.checks.report(rule.content), meter.size)

    def _judge_lines(self, content: ContentCheck, report: LineReport, size: int) -> str | None:
        """Refuse what the hosted service refuses; beyond that, advise or be strict as configured."""
        problem = report.problem
        if not report.lines:
            problem = "The file has only blank lines." if size else "The file is empty."
        if content is ContentCheck.BATCH and not report.first_is_object:
            raise NotBatchInput(problem, utf8=report.utf8)
        if content is ContentCheck.TRAINING and (report.not_object or not report.lines):
            raise NotTrainingData(*(report.not_object or (1, "")), problem)
        if self._rules.validation in ("strict", "hosted") and report.details:
            raise FaultyLines(report.details)
        return report.details if self._rules.validation == "advise" else None

    async def _discard(self, key: str, *, store_answers: bool = True) -> None:
        """Take back an upload that failed. If that fails too, its lease runs out and the sweep does it.

        A store that has just been waited for is not waited for again.

        The ledger is asked first: where the answer to `publish` got lost, the file may be visible, and stays. A
        publication that is still under way cannot come later than `abandon`.
        """
        with contextlib.suppress(FilesteadError):
            if await self._records.abandon(key) and store_answers:
                await self._remove(key)

    async def _remove(self, key: str) -> None:
        await self._blobs.delete(key)
        await self._records.forget([key])

    async def renew_leases(self) -> None:
        """Tell the ledger which uploads of this process are alive; to be called every `LEASE_SECONDS / 4`."""
        if self._streaming:
            await self._records.renew(sorted(self._streaming), lease_seconds=LEASE_SECONDS)

    async def get(self, principal: Principal, file_id: str) -> File:
        """A file of the principal's project; `FileNotFound`."""
        return await self._records.get(principal.project_id, file_id)

    async def list(
        self, principal: Principal, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Page:
        """A page of the project's files. `UnknownPurpose` is found before `CursorNotFound`."""
        if purpose is not None:
            purpose = purposes.listable(purpose)
        return await self._records.page(
            principal.project_id, purpose=purpose, after=after, limit=limit, newest_first=newest_first
        )

    async def get_for_download(self, principal: Principal, file_id: str) -> File:
        """A file whose content may be read; `FileNotFound`, then `DownloadRefused`."""
        file = await self.get(principal, file_id)
        purposes.require_download(file.purpose, as_hosted=self._rules.downloads_as_hosted)
        return file

    async def read(self, file: File, start: int, end: int) -> AsyncGenerator[bytes]:
        """Exactly the bytes `start` to `end` of the content; `FileCorrupt` if the store cannot give them."""
        left = end - start
        source = self._blobs.read(file.blob_key, start, end)
        if self._blobs.verify_reads and left == file.bytes:
            source = self._verified(file, source)
        try:
            async with contextlib.aclosing(source) as blocks:
                async for block in blocks:
                    left -= len(block)
                    yield block
        except BlobNotFound:
            raise FileCorrupt(file.id) from None
        if left:
            raise FileCorrupt(file.id)

    async def _verified(self, file: File, source: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """The same blocks, the last one only if all of them have the file's digest; else `FileCorrupt`."""
        digest = hashlib.sha256()
        held: bytes | None = None
        async with contextlib.aclosing(source) as blocks:
            async for block in blocks:
                if held is not None:
                    yield held
                await self._tools.submit(digest.update, block)
                held = block
        if digest.hexdigest() != file.sha256:
            raise FileCorrupt(file.id)
        if held is not None:
            yield held

    async def delete(self, principal: Principal, file_id: str) -> File:
        """Delete a file; `FileNotFound`. Its bytes go right after, or with the next sweep.

        If the outcome of the deletion was unknown and then the file is gone, it was there when this was asked for.
        """
        found: File | None = None

        async def delete() -> File:
            nonlocal found
            try:
                return await self._records.delete(principal.project_id, file_id)
            except OutcomeUnknown as unknown:
                if isinstance(unknown.result, File):
                    found = unknown.result
                raise
            except FileNotFound:
                if found is None:
                    raise
                return found

        return await _insist(delete, OutcomeUnknown)

    async def reclaim(self, file: File) -> None:
        """Remove the bytes of a deleted file. If that fails, the next sweep does it."""
        with contextlib.suppress(FilesteadError):
            await self._remove(file.blob_key)


async def _insist(step: Callable[[], Awaitable[T]], passing: type[StoreUnavailable]) -> T:
    """Repeat a step that fails in passing, for up to `PATIENCE_SECONDS`."""
    now = asyncio.get_running_loop().time
    end = now() + PATIENCE_SECONDS
    tries = 0
    while True:
        try:
            return await step()
        except passing:
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            if now() + pause > end:
                raise
        tries += 1
        await asyncio.sleep(pause)
