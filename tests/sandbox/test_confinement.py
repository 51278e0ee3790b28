"""What a task cannot reach, with and without each of the layers."""

import ast
import os
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from filestead.sandbox import linux, seccomp
from filestead.sandbox.errors import Failure, TaskFailed
from filestead.sandbox.pool import SandboxPool
from tests.sandbox.conftest import LIMITS, MIB, outcome, pool_of, wait_until_gone
from tests.sandbox.tasks import ORDINARY

pytestmark = pytest.mark.anyio

CAN_DROP = linux.may_drop_user()
WAYS = [None, "without_filter", "without_privileges", "without_anything"]


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("way", WAYS)
async def test_the_standard_library_reaches_nothing(
    document: BinaryIO, tmp_path: Path, port: int, way: str | None
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o666)
    acts = [
        ("open", "/etc/passwd"),
        ("open", str(secret)),
        ("os.open", "/etc/passwd"),
        ("write", str(secret)),
        ("unlink", str(secret)),
        ("listdir", "/"),
        ("socket", str(port)),
        ("udp", str(port)),
        ("unix", ""),
        ("fork", ""),
        ("subprocess", "/bin/true"),
        ("exec", "/bin/true"),
        ("kill", str(os.getpid())),
        ("import", "sqlite3"),
    ]
    if way in (None, "without_privileges") or (way == "without_filter" and (CAN_DROP or os.geteuid() != 0)):
        # Otherwise nothing forbids a thread, which harms nobody.
        acts.append(("thread", ""))
    async with pool_of(way) as pool:
        for what, where in acts:
            with pytest.raises(TaskFailed) as failed:
                await outcome(pool, document, "reach", what=what, where=where)
            assert failed.value.reason is Failure.ERROR, what
            assert "Error" in failed.value.detail, what
    assert secret.read_text() == "secret"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize(
    ("name", "number", "arguments"),
    [
        ("open", 2, ["path", 0]),
        ("openat", 257, [-100, "path", 0]),
        ("socket", 41, [2, 1, 0]),
        ("fork", 57, []),
        ("vfork", 58, []),
        ("clone3", 435, [0, 0]),
        ("execve", 59, ["path", 0, 0]),
        ("kill", 62, [0, 0]),
        ("ptrace", 101, [0, 0, 0, 0]),
        ("unshare", 272, [0]),
        ("io_uring_setup", 425, [1, 0]),
        ("the ABI x32", 0x40000000 + 2, ["path", 0]),
    ],
)
async def test_native_code_reaches_nothing_either(
    pool: SandboxPool, document: BinaryIO, name: str, number: int, arguments: list[object]
) -> None:
    assert await outcome(pool, document, "syscall", number=number, **{"with": arguments}) == b"-1", name


@pytest.mark.parametrize("way", [None, "without_privileges"])
async def test_a_fork_by_number_has_no_child(document: BinaryIO, way: str | None) -> None:
    async with pool_of(way) as pool:
        assert await outcome(pool, document, "fork_by_number") == b"-1"


@pytest.mark.skipif(not CAN_DROP, reason="only root with capabilities can be another user")
async def test_without_the_filter_a_task_of_root_is_another_user_and_cannot_fork(
    document: BinaryIO,
) -> None:
    async with pool_of("without_filter") as pool:
        assert await outcome(pool, document, "fork_by_number") == b"-1"
        assert ast.literal_eval((await outcome(pool, document, "identity")).decode())[0] == 65534


async def test_without_any_layer_a_forked_process_ends_with_its_task(document: BinaryIO) -> None:
    """Root without capabilities is not limited in processes; all of them are in the group that is killed."""
    async with pool_of("without_anything") as pool:
        child = int(await outcome(pool, document, "fork_by_number"))
        assert child > 0 or os.geteuid() != 0
        await wait_until_gone(child)


@pytest.mark.skipif(not CAN_DROP, reason="only root with capabilities can become an ordinary user")
async def test_an_ordinary_user_stays_the_user(document: BinaryIO) -> None:
    async with pool_of("without_privileges") as pool:
        uid = ast.literal_eval((await outcome(pool, document, "identity")).decode())[0]
        assert uid in (ORDINARY, 65534)  # the latter inside a user namespace


async def test_a_task_inherits_two_descriptors_and_no_environment(
    document: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILESTEAD_DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    with socket.socket() as inheritable:
        inheritable.set_inheritable(True)
        async with pool_of() as pool:
            descriptors, names = ast.literal_eval((await outcome(pool, document, "inherited")).decode())
    assert len(descriptors) == 2
    assert set(names) <= {"LC_ALL", "LC_CTYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"}


async def test_the_parent_stays_small_while_a_task_sends_more_than_it_may(document: BinaryIO) -> None:
    async with pool_of(limits=LIMITS) as pool:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for do, more in (
            ("yield_much", {}),
            ("one_large_frame", {"bytes": 30 * MIB}),
            ("allocate", {"bytes": 4 << 30}),
        ):
            with pytest.raises(TaskFailed):
                await outcome_discarded(pool, document, do, more)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < 48 * MIB


async def outcome_discarded(pool: object, document: BinaryIO, do: str, more: dict[str, object]) -> None:
    async with pool.run(document.fileno(), {"do": do, **more}) as results:  # type: ignore[attr-defined]
        async for _ in results:
            pass


def test_machines_without_known_numbers_have_no_filter() -> None:
    assert seccomp.program("riscv64") is None
    assert seccomp.program("x86_64") != seccomp.program("aarch64")
    assert len(seccomp.program("aarch64") or b"") % 8 == 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the header is that of x86-64")
def test_the_numbers_are_those_of_the_header() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    generic = Path("/usr/include/asm-generic/unistd.h")
    if not header.exists() or not generic.exists():
        pytest.skip("no headers of Linux here")
    for path, table in ((header, seccomp._X86_64), (generic, seccomp._ARM64)):
        defined = dict(line.split()[1:3] for line in path.read_text().splitlines() if line.startswith("#define __NR"))
        for name, number in table.items():
            names = (f"__NR_{name}", f"__NR3264_{name}", f"__NR3264_{name.replace('newfstatat', 'fstatat')}")
            assert str(number) in [defined.get(each) for each in names], name


RUNNING = """
        async with pool_of() as pool, pool.run(file.fileno(), {"do": "hang"}) as results:
            await anext(results)
            print(pool.server_pid, psutil.Process(pool.server_pid).children()[0].pid, flush=True)
            await anext(results)
"""
PREPARING = """
        async with pool_of("prepare_for_a_minute"):
            pass
"""


@pytest.mark.parametrize(("steps", "count"), [(RUNNING, 2), (PREPARING, 1)], ids=["a task runs", "it is prepared"])
def test_processes_end_with_their_parent(steps: str, count: int) -> None:
    """A parent that is killed leaves neither the fork server nor a task."""
    program = f"""
import asyncio, tempfile, psutil, sys
sys.path.insert(0, sys.argv[1])
from tests.sandbox.conftest import pool_of
async def main():
    with tempfile.TemporaryFile() as file:{steps}
asyncio.run(main())
"""
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", program, root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == count
        parent.kill()
    for pid in pids:
        wait_until_ended(pid)


def wait_until_ended(pid: int) -> None:
    import time

    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}") and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline, pid
        time.sleep(0.02)
