"""Jobs that merge index segments of a vector store into a larger one, without the chunks of detached files."""

import asyncio
from collections.abc import Sequence
from typing import Any

from filestead.domain.jobs import Job, JobRepository
from filestead.domain.vector_stores.interfaces import IndexRepository
from filestead.domain.vector_stores.model import SegmentData, SegmentInfo

PARTS_PER_READ = 512


class MergeHandler:
    """Runs jobs of the kind `merge`."""

    def __init__(self, index: IndexRepository, jobs: JobRepository) -> None:
        self._index = index
        self._jobs = jobs

    async def run(self, job: Job) -> None:
        """Merge the segments of one level. `SegmentsChanged`, after which the job is tried again, if they are gone."""
        old = await self._index.merge_candidates(job.subject)
        if not old:
            await self._jobs.finish(job)
            return
        merged = await self._merge(job.subject, old)
        level = 1 + max(segment.level for segment in old)
        await self._index.replace_segments(job, job.subject, old, merged, level=level)

    async def give_up(self, job: Job, error: str) -> None:
        """Keep the job as a dead letter: searches go on with the segments that there are."""
        await self._jobs.bury(job, error)

    async def _merge(self, store_id: str, old: Sequence[SegmentInfo]) -> SegmentData:
        from filestead.search.documents import BLOCK_ROWS  # noqa: PLC0415 - loads numpy, which only workers need
        from filestead.search.merging import Merge  # noqa: PLC0415
        from filestead.search.segments import SegmentCounts  # noqa: PLC0415

        blocks = [range(-(-segment.chunks // BLOCK_ROWS)) for segment in old]
        documents = await self._read(self._index.read_documents, old, blocks)
        attached = await self._index.attached(store_id)
        counts = [SegmentCounts(each.chunks, each.length, each.postings, each.buckets) for each in old]

        def begin() -> Any:
            import numpy as np  # noqa: PLC0415

            numbers = np.array(attached, np.int64)
            rows = [[parts[number] for number in sorted(parts)] for parts in documents]
            return Merge(counts, rows, lambda attachments: np.isin(attachments, numbers))

        merge = await asyncio.to_thread(begin)
        buckets: list[bytes] = []
        for step in merge.steps():
            parts = await self._read(self._index.read_postings, old, step.sources)
            buckets += await asyncio.to_thread(merge.run, step, parts)
        made = merge.counts
        return SegmentData(made.chunks, made.length, made.postings, buckets, merge.documents)

    async def _read(self, read: Any, old: Sequence[SegmentInfo], wanted: Sequence[range]) -> list[dict[int, bytes]]:
        """For each segment, number -> part."""
        found: list[dict[int, bytes]] = []
        for segment, numbers in zip(old, wanted, strict=True):
            parts: dict[int, bytes] = {}
            for first in range(0, len(numbers), PARTS_PER_READ):
                ids = [(segment.id, number) for number in numbers[first : first + PARTS_PER_READ]]
                parts |= {number: data for (_, number), data in (await read(ids)).items()}
            found.append(parts)
        return found
