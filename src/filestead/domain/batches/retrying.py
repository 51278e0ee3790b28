"""Repeating a batch: a new one of the lines that failed, expired or were cancelled, as its error file names them.

The new batch has an input file of its own, with the original lines.
"""

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from filestead.domain.access import Principal
from filestead.domain.attempts import Attempt
from filestead.domain.batches.model import TERMINAL, Batch, BatchStatus
from filestead.domain.batches.results import StoredFiles
from filestead.domain.batches.service import Batches, CreatedBatch, NewBatchForm
from filestead.domain.errors import FileNotFound, NothingToRetry
from filestead.domain.files.digester import RunInThread
from filestead.domain.files.model import FieldsBeforeFile, File, UploadForm

INPUT_PURPOSE = "batch"


class Retrying:
    """Makes new batches of the lines that earlier ones have not completed."""

    def __init__(self, batches: Batches, files: StoredFiles, *, run_in_thread: RunInThread) -> None:
        """`run_in_thread` runs the parsing of lines, which may be many."""
        self._batches = batches
        self._files = files
        self._run_in_thread = run_in_thread

    async def retry(self, principal: Principal, batch_id: str, *, idempotency_key: str | None = None) -> CreatedBatch:
        """Create the new batch. Raises `NothingToRetry`, and the errors of an upload and of a new batch.

        A repeated idempotency key returns the earlier batch, and stores no further input.
        """
        batch = await self._batches.get(principal, batch_id)
        if idempotency_key is not None:
            earlier = await self._batches.find_retry(principal, batch_id, idempotency_key)
            if earlier is not None:
                return CreatedBatch(earlier, replayed=True)
        input_file = await self._input(principal, batch, idempotency_key)
        form = NewBatchForm(input_file.id, batch.endpoint, self._window_of(batch), batch.metadata)
        return await self._batches.create(principal, form, attempt=Attempt(idempotency_key), retry_of=batch_id)

    async def _input(self, principal: Principal, batch: Batch, idempotency_key: str | None) -> File:
        """The input of the new batch."""
        batch_id = batch.id
        if batch.status not in TERMINAL:
            raise NothingToRetry(batch_id, f"has not ended: its status is '{batch.status.value}'")
        if batch.status is BatchStatus.FAILED:
            raise NothingToRetry(
                batch_id, "failed in validation, so that none of its lines ran: correct its input file"
            )
        input_file = await self._file(principal, batch, batch.input_file_id, "input")
        if batch.error_file_id is None and batch.counts.total:
            raise NothingToRetry(batch_id, "has no line that failed, expired or was cancelled")
        if batch.error_file_id is not None:
            error_file = await self._file(principal, batch, batch.error_file_id, "error")
            wanted = await self._custom_ids(error_file)
            source = _Selection(batch, input_file, self._selected(batch, input_file, wanted))
            # Requests with the same key that come at the same time, or after a crash, store one file.
            key = None if idempotency_key is None else _input_key(batch_id, idempotency_key)
            return (await self._files.create(principal, source, attempt=Attempt(key))).file
        # It was cancelled while it was validated: all of its lines are to be repeated.
        return input_file

    def _window_of(self, batch: Batch) -> str:
        """The window of the batch; another one if the settings do not have it any more."""
        windows = self._batches.windows
        return batch.completion_window if batch.completion_window in windows else windows[0]

    async def _file(self, principal: Principal, batch: Batch, file_id: str, name: str) -> File:
        try:
            return await self._files.get(principal, file_id)
        except FileNotFound:
            reason = f"cannot be repeated: its {name} file {file_id} was deleted or has expired"
            raise NothingToRetry(batch.id, reason) from None

    async def _custom_ids(self, file: File) -> set[str]:
        found: set[str] = set()
        async for lines in self._lines(file):
            found.update(await self._run_in_thread(_custom_ids_of, lines))
        return found

    async def _selected(self, batch: Batch, file: File, wanted: set[str]) -> AsyncIterator[bytes]:
        """The lines of the input with the wanted ids."""
        empty = True
        async for lines in self._lines(file):
            if selected := await self._run_in_thread(_select, lines, wanted):
                empty = False
                yield selected
        if empty:
            raise NothingToRetry(batch.id, f"cannot be repeated: its input file {file.id} has none of its lines")

    async def _lines(self, file: File) -> AsyncIterator[list[bytes]]:
        """The lines of a file, some at a time, without their newlines."""
        rest = b""
        async with contextlib.aclosing(self._files.read(file, 0, file.bytes)) as blocks:
            async for block in blocks:
                *lines, rest = (rest + block).split(b"\n")
                yield lines
        yield [rest]


@dataclass(slots=True)
class _Selection:
    """Lines of an input file as the upload of another one."""

    _batch: Batch
    _input: File
    _lines: AsyncIterator[bytes]

    @property
    def min_size(self) -> int:
        """Nothing is known."""
        return 0

    @property
    def max_size(self) -> int:
        """The lines are those of the input, and each gets a newline."""
        return self._input.bytes + 1

    async def head(self) -> FieldsBeforeFile:
        """The name and the purpose."""
        return FieldsBeforeFile(f"{self._batch.id}_retry.jsonl", INPUT_PURPOSE, None)

    def chunks(self) -> AsyncIterator[bytes]:
        """The lines."""
        return self._lines

    async def form(self) -> UploadForm:
        """The rest of the form."""
        return UploadForm(INPUT_PURPOSE, None)


def _input_key(batch_id: str, idempotency_key: str) -> str:
    """The idempotency key of the upload, which no client has for a file of its own."""
    return "retry-" + hashlib.sha256(f"{batch_id} {idempotency_key}".encode()).hexdigest()


def _custom_ids_of(lines: Iterable[bytes]) -> list[str]:
    return [custom_id for line in lines if (custom_id := _custom_id(line)) is not None]


def _select(lines: Iterable[bytes], wanted: set[str]) -> bytes:
    return b"".join(line + b"\n" for line in lines if _custom_id(line) in wanted)


def _unread(number: str) -> None:
    """Stands for a number."""


def _custom_id(line: bytes) -> str | None:
    """The `custom_id` of a line of an input or error file; None for a blank or foreign line."""
    try:
        # Numbers are not read: one of more than 4,300 digits would be an error, and its line would not be repeated.
        decoded = json.loads(line, parse_int=_unread, parse_float=_unread)
    except (ValueError, RecursionError):
        return None
    custom_id = decoded.get("custom_id") if isinstance(decoded, dict) else None
    return custom_id if isinstance(custom_id, str) else None
