"""The validation of a batch's input file: all faulty lines with the recorded codes, or the index of the lines.

Reads blocks one after another, in bounded memory, and never pauses: call `feed` on a thread, with blocks of at most a
megabyte. One faulty line fails the batch; nothing of it runs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from filestead.domain.batches.line_index import LineIndex
from filestead.domain.batches.lines import MAX_LINE, Line, LineReader
from filestead.domain.batches.model import BatchError
from filestead.domain.batches.requests import BatchLineChecks, RequestFault, RequestReader, shown
from filestead.domain.jsonl.batch import MAX_REQUESTS
from filestead.domain.jsonl.decoders import Decoders

MAX_BYTES = 200 * 1024 * 1024
"""The largest input file."""
MAX_ERRORS = 1000
"""Faulty lines that are reported one by one."""
_SMALLER = "Please try again with a smaller batch."


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The outcome. Without errors, the batch may run."""

    errors: Sequence[BatchError]
    total: int
    """Lines that are not blank."""
    model: str | None
    """The model of all lines; None if they name several."""
    index: LineIndex
    """Complete only if there are no errors."""


class LineValidator:
    """The validation of one file."""

    def __init__(
        self, endpoint: str, decoders: Decoders, *, single_model: bool = False, serves: Callable[[str], bool]
    ) -> None:
        """`endpoint` is the path of the batch; `serves` says of a model whether an endpoint is configured for it."""
        self._lines = LineReader()
        self._checks = BatchLineChecks(endpoint, single_model=single_model, serves=serves)
        self._requests = RequestReader(decoders, self._checks)
        self._index = LineIndex(self._checks.models)
        self._errors: list[BatchError] = []
        self._faulty = 0
        self._total = 0
        self._bytes = 0
        self._fatal: BatchError | None = None

    @property
    def complete(self) -> bool:
        """Whether the file is too large, so that the rest of it need not be read."""
        return self._fatal is not None

    def feed(self, chunk: bytes) -> None:
        """Check the next bytes of the file."""
        self._bytes += len(chunk)
        if self._bytes > MAX_BYTES and self._fatal is None:
            self._fatal = self._too_many_bytes()
        self._check(self._lines.feed(chunk))

    def finish(self) -> ValidationResult:
        """End the file and return the outcome."""
        self._check(self._lines.finish())
        models = self._checks.models
        model = models[0] if len(models) == 1 else None
        return ValidationResult(self._all_errors(), self._total, model, self._index)

    def _check(self, lines: Iterable[Line]) -> None:
        if self._fatal is not None:
            return
        for line in lines:
            self._total += 1
            if self._total > MAX_REQUESTS:
                self._fatal = _too_many_requests()
                return
            try:
                self._check_line(line)
            except RequestFault as fault:
                self._faulty += 1
                if self._faulty <= MAX_ERRORS:
                    self._errors.append(fault.at(line.number))

    def _check_line(self, line: Line) -> None:
        if line.data is None:
            text = f"This request is larger than the maximum of {MAX_LINE} bytes."
            raise RequestFault("request_too_large", text)
        request, model = self._requests.read(line.data)
        if not self._faulty:
            self._index.append(
                line.number, line.offset, len(line.data), model=model, prompt=request.prompt, output=request.output
            )

    def _all_errors(self) -> list[BatchError]:
        if self._fatal is not None:
            return [self._fatal]
        if not self._total:
            text = "The input file is empty. Please ensure that the batch contains at least one request."
            return [BatchError("empty_file", text)]
        more = self._faulty - len(self._errors)
        if not more:
            return self._errors
        faulty = "line has a fault" if more == 1 else "lines have faults"
        text = f"{more} more {faulty}. The first {MAX_ERRORS} are listed."
        return [*self._errors, BatchError("too_many_errors", text)]

    def _too_many_bytes(self) -> BatchError:
        model = next((model for model in self._checks.models if model), None)
        of_model = "" if model is None else f" for the {shown(model)} model"
        text = f"The batch input file is larger than the {MAX_BYTES} maximum{of_model}. {_SMALLER}"
        return BatchError("invalid_request", text)


def _too_many_requests() -> BatchError:
    text = f"The batch input file has more than the maximum of {MAX_REQUESTS} requests. {_SMALLER}"
    return BatchError("too_many_requests_in_batch", text)
