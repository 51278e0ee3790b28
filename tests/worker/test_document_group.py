"""Texts that one process indexes together: the same results as alone, and no text fails for another."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import pytest

from filestead.sandbox.errors import TaskRejected
from filestead.sandbox.limits import Limits
from filestead.sandbox.pool import SandboxPool
from filestead.worker import document_group
from filestead.worker.document_group import MAX_TEXTS, DocumentGroups, GroupFailed
from filestead.worker.index_document import Arguments
from filestead.worker.indexing import PREPARE, TASK

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
TEXT = "Ein Satz über {0}, and one about the number {0}. "


def arguments(attachment: int, *, max_tokens: int = 10_000) -> Arguments:
    return Arguments(attachment, "a.txt", 100, 50, max_tokens)


def text(number: int) -> bytes:
    return (TEXT.format(number) * 40).encode()


class CountingPool(SandboxPool):
    """Notes the arguments of each process."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(1, limits, task=TASK, prepare=PREPARE)
        self.started: list[Any] = []

    def run(self, input_fd: int, arguments: Any, limits: Limits | None = None) -> Any:
        self.started.append(arguments)
        return super().run(input_fd, arguments, limits)


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[CountingPool]:
    async with CountingPool(Limits(memory_bytes=256 * MIB, cpu_seconds=20, wall_seconds=20)) as running:
        yield running


async def alone(pool: SandboxPool, number: int) -> list[bytes]:
    with tempfile.TemporaryFile() as file:
        file.write(text(number))
        file.flush()
        async with pool.run(file.fileno(), asdict(arguments(number))) as frames:
            return [frame async for frame in frames]


async def test_a_text_has_the_same_results_as_alone(pool: CountingPool) -> None:
    expected = [await alone(pool, number) for number in range(5)]
    groups = DocumentGroups(pool)
    pool.started.clear()
    found = await asyncio.gather(*(groups.run("p", text(number), arguments(number)) for number in range(5)))
    assert found == expected
    assert [len(each["group"]) for each in pool.started] == [5], "one process"


async def test_a_group_is_of_one_project_and_limited(pool: CountingPool) -> None:
    groups = DocumentGroups(pool)
    pool.started.clear()
    projects = ["a", "b"] * (MAX_TEXTS + 2)
    await asyncio.gather(*(groups.run(project, text(n), arguments(n)) for n, project in enumerate(projects)))
    numbers = [[document["attachment"] for _, document in each["group"]] for each in pool.started]
    assert all(len({projects[number] for number in group}) == 1 for group in numbers)
    assert sorted(map(len, numbers)) == [2, 2, MAX_TEXTS, MAX_TEXTS]
    assert sorted(number for group in numbers for number in group) == list(range(len(projects)))


async def test_a_rejected_text_leaves_the_others_alone(pool: CountingPool) -> None:
    groups = DocumentGroups(pool)
    contents = [text(0), b"\xff\xfe\xfd", b"   ", text(3)]
    found = await asyncio.gather(
        *(groups.run("p", content, arguments(number)) for number, content in enumerate(contents)),
        groups.run("p", text(4) * 20, arguments(4, max_tokens=100)),
        return_exceptions=True,
    )
    assert [found[0], found[3]] == [await alone(pool, 0), await alone(pool, 3)]
    assert [(type(each), each.kind) for each in (found[1], found[2], found[4])] == [(TaskRejected, "invalid_file")] * 3  # type: ignore[union-attr]
    assert "empty" in str(found[2])
    assert "too large" in str(found[4])


async def test_the_texts_of_a_process_that_fails_are_told_so() -> None:
    """Those that were complete before keep their results."""
    async with CountingPool(
        Limits(memory_bytes=256 * MIB, cpu_seconds=20, wall_seconds=20, output_bytes=20_000)
    ) as pool:
        groups = DocumentGroups(pool)
        found = await asyncio.gather(
            groups.run("p", text(0), arguments(0)),
            groups.run("p", text(1) * 20, arguments(1, max_tokens=1_000_000)),
            groups.run("p", text(2), arguments(2)),
            return_exceptions=True,
        )
        assert isinstance(found[0], list)
        assert [type(each) for each in found[1:]] == [GroupFailed, GroupFailed]
        assert await groups.run("p", text(3), arguments(3)) == await alone(pool, 3)


async def test_a_caller_that_gives_up_leaves_the_others_alone(pool: CountingPool) -> None:
    groups = DocumentGroups(pool)
    tasks = [asyncio.create_task(groups.run("p", text(number), arguments(number))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert [found[0], found[2]] == [await alone(pool, 0), await alone(pool, 2)]


async def test_a_group_that_cannot_start_leaves_no_text_behind(
    pool: CountingPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_descriptor(*_: bytes) -> Any:
        monkeypatch.undo()
        raise OSError(24, "Too many open files")

    groups = DocumentGroups(pool)
    monkeypatch.setattr(document_group, "memory_file", no_descriptor)
    async with asyncio.timeout(20):
        found = await asyncio.gather(
            *(groups.run(project, text(0), arguments(0)) for project in "ab"), return_exceptions=True
        )
    assert isinstance(found[0], GroupFailed)
    assert found[1] == await alone(pool, 0)
    assert "Too many open files" in caplog.text


async def test_a_text_that_comes_as_a_runner_ends_is_not_left_behind(pool: CountingPool) -> None:
    class AtOnce(DocumentGroups):
        async def _run_group(self, group: list[Any]) -> None:
            for text in group:
                text.done.set_result(None)

    groups = AtOnce(pool)
    async with asyncio.timeout(10):
        for number in range(5):
            assert await groups.run("p", text(number), arguments(number)) == []
