"""A worker of batches in the test's hand, on the installation of a running server that runs no jobs itself."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

import pytest

from filestead import installation, settings
from filestead.blobs.keys import new_key
from filestead.domain.batches.model import (
    BatchError,
    BatchStatus,
    OutputFile,
    Parallelism,
    Pause,
    ResultBlock,
    ResultKind,
    TokenUsage,
    Validated,
)
from filestead.domain.jobs import Job, JobKind
from filestead.domain.quota import Quota
from filestead.installation import Backends, new_id
from tests.support.servers import Server

OUTPUT, ERROR = ResultKind.OUTPUT, ResultKind.ERROR
USAGE = TokenUsage(10, 4, 20, 8, 30)


def input_of(*custom_ids: str) -> bytes:
    """A batch input file."""
    lines = []
    for custom_id in custom_ids:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        lines.append({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def result(custom_id: str, *, text: str = "ok") -> bytes:
    """A line of an output file."""
    response = {"status_code": 200, "request_id": "r", "body": {"text": text}}
    line = {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": response, "error": None}
    return json.dumps(line).encode() + b"\n"


class BatchWorker:
    """Claims the jobs of batches one by one, and does with them what the test says."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._runs = backends.batch_runs
        self._lines: dict[str, int] = {}

    @classmethod
    def of(cls, server: Server) -> Self:
        """One on the installation of a server."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.place.variables().items():
                patch.setenv(name, value)
            found = installation.from_settings(settings.load(data_dir=str(server.data_dir)))
            return cls(found.open_for_command())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._backends.close()

    def claim(self, batch_id: str) -> Job:
        """The job of a batch; those before it are given back."""

        async def claim() -> Job:
            jobs = await self._backends.jobs.claim([JobKind.BATCH], token=new_id("t-"), lease_seconds=600, limit=1_000)
            (job,) = [each for each in jobs if each.subject == batch_id]
            await self._backends.jobs.release([each for each in jobs if each is not job])
            assert await self._runs.begin(job) is not None
            return job

        return self._run(claim())

    def start(self, batch_id: str, total: int, model: str | None = "m") -> Job:
        """Claim a batch and let its validation succeed."""
        job = self.claim(batch_id)
        self._run(self._runs.start(job, Validated(total, model)))
        return job

    def input(self, job: Job) -> bytes:
        """The content of the input file."""

        async def read() -> bytes:
            task = await self._runs.begin(job)
            assert task is not None
            assert task.input_blob_key is not None
            return b"".join([block async for block in self._backends.blobs.read(task.input_blob_key)])

        content: bytes = self._run(read())
        return content

    def skip(self, job: Job, lines: int) -> None:
        """Take the first lines for done, by another worker."""
        self._lines[job.subject] = lines

    def fail(self, job: Job, *errors: BatchError) -> None:
        self._run(self._runs.fail(job, errors))

    def append(
        self,
        job: Job,
        *lines: bytes,
        kind: ResultKind = OUTPUT,
        ran: bool = True,
        rate: float | None = None,
        parallelism: Parallelism | None = None,
    ) -> None:
        """Append results of the next lines."""
        first = self._lines.get(job.subject, 0) + 1
        self._lines[job.subject] = first + len(lines) - 1
        completed = len(lines) if kind is OUTPUT else 0
        failed = len(lines) - completed if ran else 0
        usage = TokenUsage(*(completed * number for number in USAGE))
        block = ResultBlock(kind, range(first, first + len(lines)), b"".join(lines), completed, failed, usage)
        quota = Quota(None, None)
        self._run(self._runs.append(job, [block], quota=quota, lines_per_second=rate, parallelism=parallelism))

    def pause(self, job: Job, *pauses: Pause) -> None:
        """Say why the batch sends no lines now."""
        self._run(self._runs.set_pauses(job, pauses))

    def finish(self, job: Job, status: BatchStatus = BatchStatus.COMPLETED) -> BatchStatus:
        """Publish what was appended, and end the batch."""

        async def finish() -> BatchStatus:
            await self._runs.start_finalizing(job)
            return await self._runs.finish(job, status, [file async for file in self._stored(job)])

        return self._run(finish())

    async def _stored(self, job: Job) -> AsyncIterator[OutputFile]:
        for kind in ResultKind:
            content = await self._runs.read_journal(job.subject, kind, 0, 2**30)
            if content:
                key = new_key()
                await self._runs.begin_output(job, key, lease_seconds=60)

                async def chunks(content: bytes = content) -> AsyncIterator[bytes]:
                    yield content

                await self._backends.blobs.put(key, chunks())
                name = f"{job.subject}_{kind.value}.jsonl"
                digest = hashlib.sha256(content).hexdigest()
                yield OutputFile(kind, new_id("file-"), key, name, len(content), digest)

    def sweep(self) -> int:
        """Delete the journals of batches that have ended; returns the number of blocks."""
        total = 0
        while number := self._run(self._runs.delete_finished_journals(1_000)):
            total += number
        return total

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work)


def custom_ids(content: bytes) -> Sequence[str]:
    """The ids of the lines of a file."""
    return [json.loads(line)["custom_id"] for line in content.splitlines()]
