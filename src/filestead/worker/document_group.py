"""Small plain texts that are indexed by one process together: a process of its own costs more than such a text.

The texts of a group are of one project. A process that fails, fails for the group: its texts are then indexed one by
one, each in a process of its own, so that a text can only hold up others, not let them fail.
"""

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from filestead.sandbox.content import memory_file
from filestead.sandbox.errors import SandboxUnavailable, TaskFailed, TaskRejected
from filestead.sandbox.pool import SandboxPool

if TYPE_CHECKING:
    from filestead.worker.index_document import Arguments

log = logging.getLogger("filestead")

MAX_TEXTS = 16
MAX_TEXT_BYTES = 64 * 1024


class GroupFailed(Exception):
    """The process of the group has failed; the text was not indexed."""


@dataclass(slots=True, eq=False)
class _Text:
    """A text that waits, and then its results."""

    project_id: str
    content: bytes
    arguments: "Arguments"
    done: asyncio.Future[None]
    frames: list[bytes] = field(default_factory=list)


class DocumentGroups:
    """Runs texts in groups. At most as many groups run at a time as the pool has places."""

    def __init__(self, pool: SandboxPool) -> None:
        self._pool = pool
        self._waiting: deque[_Text] = deque()
        self._free = pool.size
        self._runners: set[asyncio.Task[None]] = set()

    async def run(self, project_id: str, content: bytes, arguments: "Arguments") -> list[bytes]:
        """Index a text; returns the frames of `index_document`.

        Raises `TaskRejected` as the pool does, and `GroupFailed`.
        """
        text = _Text(project_id, content, arguments, asyncio.get_running_loop().create_future())
        self._waiting.append(text)
        if self._free:
            self._free -= 1
            runner = asyncio.create_task(self._run_groups())
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)
        try:
            await text.done
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(text)
        return text.frames

    async def _run_groups(self) -> None:
        while self._waiting:
            await self._run_next()
        self._free += 1  # nothing comes in between: what is added from here on starts another runner

    async def _run_next(self) -> None:
        group = self._take()
        try:
            await self._run_group(group)
        except Exception:  # whatever it is, others wait
            log.exception("a group of texts cannot be indexed")
        finally:
            for text in group:
                if not text.done.done():
                    text.done.set_exception(GroupFailed())

    def _take(self) -> list[_Text]:
        """The first text that waits, and others of its project."""
        project_id = self._waiting[0].project_id
        group = [text for text in self._waiting if text.project_id == project_id][:MAX_TEXTS]
        for text in group:
            self._waiting.remove(text)
        return group

    async def _run_group(self, group: list[_Text]) -> None:
        from filestead.worker import index_document  # noqa: PLC0415 - loads numpy, which only workers need

        arguments = [[len(text.content), asdict(text.arguments)] for text in group]
        with (
            contextlib.suppress(TaskFailed, TaskRejected, SandboxUnavailable),
            memory_file(*(text.content for text in group)) as descriptor,
        ):
            async with self._pool.run(descriptor, {"group": arguments}) as frames:
                async for frame in frames:
                    text, payload = group[frame[0]], frame[1:]
                    if text.done.done():
                        continue  # its caller has given up
                    if payload[:1] == index_document.END:
                        text.done.set_result(None)
                    elif payload[:1] == index_document.REJECTED:
                        text.done.set_exception(TaskRejected(*index_document.parse_rejection(payload)))
                    else:
                        text.frames.append(payload)
