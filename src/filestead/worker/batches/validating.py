"""The validation of an input file on its way through a thread, in slices between which others get the interpreter."""

import os
import time
from collections.abc import Callable

from filestead.domain.batches.model import BatchError, BatchTask
from filestead.domain.batches.validation import LineValidator, ValidationResult
from filestead.domain.errors import StorageFailed
from filestead.domain.files.digester import PAUSE_SECONDS, RunInThread
from filestead.worker.batches.inputs import InputFile

SLICE_BYTES = 128 * 1024
STEP_SECONDS = 0.1
"""After so long, others have the thread."""


def unknown_input(task: BatchTask) -> BatchError:
    """The fault of a batch whose input file was unknown, foreign, deleted, or of another purpose."""
    text = (
        f"Cannot find file {task.batch.input_file_id}, or organization {task.organization_id} does not have access "
        "to it."
    )
    return BatchError("invalid_request", text, None, "file_id")


class Validation:
    """One pass over an input file."""

    def __init__(self, validator: LineValidator, file: InputFile, *, clock: Callable[[], float]) -> None:
        self._validator = validator
        self._file = file
        self._clock = clock
        self._offset = 0
        self._result: ValidationResult | None = None

    async def step(self, run_in_thread: RunInThread) -> ValidationResult | None:
        """Read on for a moment; returns the result at the end of the file."""
        await self._file.on_thread(run_in_thread(self._read_slices))
        return self._result

    def _read_slices(self) -> None:
        until = self._clock() + STEP_SECONDS
        while self._clock() < until:
            try:
                block = os.pread(self._file.descriptor, SLICE_BYTES, self._offset)
            except OSError as error:
                raise StorageFailed(f"reading the input of a batch: {error.strerror}") from error
            self._offset += len(block)
            if block:
                self._validator.feed(block)
            if not block or self._validator.complete:
                self._result = self._validator.finish()
                return
            time.sleep(PAUSE_SECONDS)
