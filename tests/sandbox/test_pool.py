"""What a caller of the pool sees: results, outcomes, limits, cancellation, restarts, and that nothing is left."""

import ast
import asyncio
import gc
import os
import signal
import tempfile
from typing import BinaryIO

import psutil
import pytest
import uvloop

from filestead.sandbox import results as results_module
from filestead.sandbox.errors import Failure, SandboxUnavailable, TaskFailed, TaskRejected
from filestead.sandbox.limits import Limits
from filestead.sandbox.pool import SandboxPool
from tests.sandbox.conftest import LIMITS, MIB, TASK, open_descriptors, outcome, pool_of, wait_until_gone

pytestmark = pytest.mark.anyio


async def failure_of(
    pool: SandboxPool, file: BinaryIO, do: str, limits: Limits | None = None, **more: object
) -> Failure:
    with pytest.raises(TaskFailed) as failed:
        await outcome(pool, file, do, limits, **more)
    return failed.value.reason


async def test_results_arrive_in_order_and_the_input_stays_as_it_was(pool: SandboxPool, document: BinaryIO) -> None:
    document.seek(5000)
    async with pool.run(document.fileno(), {"do": "echo"}) as results:
        frames = [frame async for frame in results]
        assert [frame async for frame in results] == []
    assert frames == [b"0123456789" * 100] * 10
    assert results.usage is not None and results.usage.cpu_seconds < 5 and results.usage.max_rss > MIB
    assert document.tell() == 5000


@pytest.mark.parametrize("value", [None, {"name": "日本語 🎉", "n": 1}, "x" * 50_000])
async def test_arguments_are_carried_by_json(pool: SandboxPool, document: BinaryIO, value: object) -> None:
    assert ast.literal_eval((await outcome(pool, document, "arguments", value=value)).decode()) == value


async def test_arguments_have_a_limit(pool: SandboxPool, document: BinaryIO) -> None:
    with pytest.raises(ValueError, match="65536"):
        await outcome(pool, document, "arguments", value="x" * 65_536)


async def test_a_declared_exception_is_a_rejection_after_the_results_before_it(
    pool: SandboxPool, document: BinaryIO
) -> None:
    async with pool.run(document.fileno(), {"do": "reject"}) as results:
        assert await anext(results) == b"before"
        with pytest.raises(TaskRejected) as rejected:
            await anext(results)
        assert (rejected.value.kind, rejected.value.message) == ("declared_kind", "not this one")


@pytest.mark.parametrize(
    ("do", "more", "reason"),
    [
        ("raise", {}, Failure.ERROR),
        ("leave", {}, Failure.CRASH),
        ("crash", {}, Failure.CRASH),
        ("allocate", {"bytes": 4 << 30}, Failure.MEMORY),
        ("small_allocations", {}, Failure.MEMORY),
        ("yield_much", {}, Failure.OUTPUT),
        ("one_large_frame", {"bytes": 17 * MIB}, Failure.OUTPUT),
        ("forge", {"hex": "0000000003616263ff00000000"}, Failure.OUTPUT),
        ("forge", {"hex": "00ffffffff"}, Failure.OUTPUT),
        ("forge", {"hex": "03000000020a0a"}, Failure.OUTPUT),
    ],
)
async def test_failures(
    pool: SandboxPool, document: BinaryIO, do: str, more: dict[str, object], reason: Failure
) -> None:
    assert await failure_of(pool, document, do, **more) is reason
    assert await outcome(pool, document, "echo") == b"0123456789" * 1000


@pytest.mark.timing
async def test_a_task_that_hangs_and_one_that_computes_forever_end_within_their_time(document: BinaryIO) -> None:
    loop = asyncio.get_running_loop()
    async with pool_of(size=3) as pool:
        begun = loop.time()
        reasons = await asyncio.gather(
            failure_of(pool, document, "hang", Limits(wall_seconds=0.5)),
            failure_of(pool, document, "spin", Limits(cpu_seconds=1, wall_seconds=20)),
            failure_of(pool, document, "stubborn_spin", Limits(cpu_seconds=1, wall_seconds=20)),
        )
        assert reasons == [Failure.TIME] * 3
        assert loop.time() - begun < 15


async def test_the_time_of_a_slow_reader_is_not_the_time_of_the_task(pool: SandboxPool, document: BinaryIO) -> None:
    async with pool.run(document.fileno(), {"do": "yield_much"}, Limits(wall_seconds=5)) as results:
        assert await anext(results)
        await asyncio.sleep(5.3)
        for _ in range(20):  # more than fits into the buffers of a socket
            assert await anext(results)


async def test_much_output_to_nowhere_does_no_harm(pool: SandboxPool, document: BinaryIO) -> None:
    assert await outcome(pool, document, "print_much") == b"printed"


async def test_a_process_that_stays_after_its_last_frame_is_killed(
    pool: SandboxPool, document: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_module, "EXIT_SECONDS", 0.2)
    async with pool.run(document.fileno(), {"do": "stay"}) as results:
        assert [frame async for frame in results] == []
        assert results.usage is not None and os.WTERMSIG(results.usage.status) == signal.SIGKILL


async def test_a_block_that_ends_early_kills_the_process(pool: SandboxPool, document: BinaryIO) -> None:
    server = psutil.Process(pool.server_pid)
    async with pool.run(document.fileno(), {"do": "hang"}) as results:
        assert await anext(results) == b"begun"
        assert len(server.children()) == 1
    assert server.children() == []


@pytest.mark.parametrize("do", ["hang", "spin"])
async def test_a_cancellation_kills_the_process(document: BinaryIO, do: str) -> None:
    async with pool_of(size=1) as pool:
        server = psutil.Process(pool.server_pid)
        task = asyncio.create_task(outcome(pool, document, do))
        while not server.children():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.children() == []
        assert await outcome(pool, document, "echo")


async def test_a_second_cancellation_waits_for_the_end_too(document: BinaryIO) -> None:
    async with pool_of(size=1) as pool:
        server = psutil.Process(pool.server_pid)
        for delay in range(5):
            task = asyncio.create_task(outcome(pool, document, "hang"))
            while not server.children():
                await asyncio.sleep(0.01)
            task.cancel()
            for _ in range(delay):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert server.children() == []


async def test_the_end_of_the_pool_ends_its_processes(document: BinaryIO) -> None:
    async with pool_of() as pool:
        task = asyncio.create_task(outcome(pool, document, "hang"))
        server = psutil.Process(pool.server_pid)
        while not (children := server.children()):
            await asyncio.sleep(0.01)
    with pytest.raises(SandboxUnavailable):
        await task
    assert not psutil.pid_exists(server.pid)
    await wait_until_gone(children[0].pid)
    with pytest.raises(SandboxUnavailable, match="closed"):
        await outcome(pool, document, "echo")


async def test_a_fork_server_that_ended_is_started_again(document: BinaryIO) -> None:
    async with pool_of() as pool:
        task = asyncio.create_task(outcome(pool, document, "hang"))
        first = pool.server_pid
        assert first is not None
        while not (children := psutil.Process(first).children()):
            await asyncio.sleep(0.01)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(SandboxUnavailable):
            await task
        await wait_until_gone(children[0].pid)
        assert await outcome(pool, document, "echo") == b"0123456789" * 1000
        assert pool.server_pid not in (None, first)


async def test_a_fork_server_that_does_not_react_is_killed(document: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "EXIT_SECONDS", 0.2)
    async with pool_of() as pool:
        first = pool.server_pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        assert await failure_of(pool, document, "echo", Limits(wall_seconds=0.3)) is Failure.TIME
        assert await outcome(pool, document, "echo")
        assert pool.server_pid != first


@pytest.mark.parametrize(
    ("task", "prepare", "text"),
    [
        ("tests.sandbox.tasks:missing", None, "missing"),
        ("tests.sandbox.nothing:act", None, "nothing"),
        (TASK, "tests.sandbox.tasks:broken_prepare", "no model"),
        (TASK, "tests.sandbox.tasks:prepare_with_threads", "threads"),
    ],
)
async def test_a_server_that_cannot_start_says_why(task: str, prepare: str | None, text: str) -> None:
    before = open_descriptors()
    with pytest.raises(SandboxUnavailable, match=text):
        async with SandboxPool(1, LIMITS, task=task, prepare=prepare):
            pass
    assert open_descriptors() <= before


async def test_prepare_runs_once_and_before_the_tasks(pool: SandboxPool, document: BinaryIO) -> None:
    seen = {(await outcome(pool, document, "identity")).decode() for _ in range(3)}
    assert all(ast.literal_eval(each)[3] == ["once"] for each in seen)
    assert len({ast.literal_eval(each)[2] for each in seen}) == 3


async def test_the_pool_limits_the_number_of_processes(pool: SandboxPool, document: BinaryIO) -> None:
    server = psutil.Process(pool.server_pid)
    tasks = [asyncio.create_task(outcome(pool, document, "hang", Limits(wall_seconds=1))) for _ in range(4)]
    most = 0
    while not all(task.done() for task in tasks):
        most = max(most, len(server.children()))
        await asyncio.sleep(0.02)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 2


async def test_an_input_that_is_open_for_writing_is_read_only_in_the_task(
    pool: SandboxPool, document: BinaryIO
) -> None:
    assert await failure_of(pool, document, "write_input") is Failure.ERROR
    document.seek(0)
    assert document.read() == b"0123456789" * 1000


async def work_500_times() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 5000)
        file.flush()
        async with pool_of(size=4) as pool:
            await outcome(pool, file, "echo")
            server = psutil.Process(pool.server_pid)
            before = open_descriptors(), server.num_fds()
            acts = ["echo", "reject", "raise", "leave", "echo"] * 100
            done = await asyncio.gather(*[outcome(pool, file, do) for do in acts], return_exceptions=True)
            assert sum(result == b"x" * 5000 for result in done) == 200
            assert sum(isinstance(result, TaskRejected) for result in done) == 100
            assert sum(isinstance(result, TaskFailed) for result in done) == 200
            assert open_descriptors() <= before[0]
            assert server.num_fds() == before[1]
            assert server.children() == []


async def nothing() -> None:
    """uvloop keeps two descriptors of its own after its first loop with a process."""
    await (await asyncio.create_subprocess_exec("true")).wait()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_500_tasks_leave_no_descriptor_and_no_process(run: object) -> None:
    run(nothing())  # type: ignore[operator]
    gc.collect()  # files that earlier tests left to the collector would be closed in between
    before = open_descriptors()
    children = psutil.Process().children()
    run(work_500_times())  # type: ignore[operator]
    assert open_descriptors() <= before
    assert psutil.Process().children() == children
