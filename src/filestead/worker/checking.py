"""Jobs that read the whole content of a file that was uploaded in parts: its digest, and the check of its lines.

Whole uploads are checked while they stream. The parts of an upload come in any order, and complete does not read them.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable

from filestead.domain.errors import FileCorrupt
from filestead.domain.files.digester import LARGE_BLOCK, RunInThread, UploadDigester
from filestead.domain.files.model import File, FileStatus
from filestead.domain.files.purposes import RULES
from filestead.domain.files.validation import JSONL_CHECKS
from filestead.domain.jobs import Job, JobRepository
from filestead.domain.jsonl.checks import LineChecks
from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.jsonl.report import LineReport
from filestead.domain.uploads.interfaces import UploadRepository
from filestead.domain.uploads.model import Checked

ReadContent = Callable[[File], AsyncGenerator[bytes]]


class CheckHandler:
    """Runs jobs of the kind `check`."""

    def __init__(
        self,
        uploads: UploadRepository,
        jobs: JobRepository,
        read: ReadContent,
        *,
        validation: str,
        line_decoders: Decoders,
        run_in_thread: RunInThread,
        run_line_checks: RunInThread,
    ) -> None:
        """`read` yields the content and compares it with the digests of its parts."""
        self._uploads = uploads
        self._jobs = jobs
        self._read = read
        self._validation = validation
        self._line_decoders = line_decoders
        self._run_in_thread = run_in_thread
        self._run_line_checks = run_line_checks

    async def run(self, job: Job) -> None:
        """Read the file and record what was found. Damaged content raises `FileCorrupt`, and is tried again."""
        file = await self._uploads.check_task(job)
        if file is None:
            await self._jobs.finish(job)
            return
        try:
            checked = await self._check(file)
        except FileCorrupt:
            if await self._uploads.check_task(job) is not None:
                raise
            await self._jobs.finish(job)  # the file was deleted meanwhile
            return
        await self._uploads.record_check(job, file, checked)

    async def give_up(self, job: Job, error: str) -> None:
        """Keep the job as a dead letter: the file stays as it is, without the digest of its whole content."""
        await self._jobs.bury(job, error)

    async def _check(self, file: File) -> Checked:
        kind = RULES[file.purpose].check
        kinds = frozenset({kind}) & JSONL_CHECKS if self._validation != "openai" else frozenset()
        checks = LineChecks(self._line_decoders, kinds, hosted=self._validation == "hosted")
        digester = UploadDigester(file.bytes, checks, self._run_in_thread, self._run_line_checks, LARGE_BLOCK)
        async with (
            contextlib.aclosing(self._read(file)) as content,
            contextlib.aclosing(digester.digest(content)) as blocks,
        ):
            async for _ in blocks:
                pass
        if digester.size != file.bytes or file.sha256 not in ("", digester.sha256):
            raise FileCorrupt(file.id)
        details = _faults(checks.report(kind), file.bytes) if kinds else None
        is_error = details is not None and self._validation in ("strict", "hosted")
        return Checked(digester.sha256, FileStatus.ERROR if is_error else FileStatus.PROCESSED, details)


def _faults(report: LineReport, size: int) -> str | None:
    """What is wrong with the lines. Nothing is refused, as the file exists, so this is all that the user sees."""
    if not report.lines:
        return "The file has only blank lines." if size else "The file is empty."
    return report.details
