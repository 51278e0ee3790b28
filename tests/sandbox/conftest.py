"""A pool of the tasks of the tests, and inputs."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any, BinaryIO

import pytest

from filestead.sandbox.limits import Limits
from filestead.sandbox.pool import SandboxPool

MIB = 1024 * 1024
LIMITS = Limits(memory_bytes=64 * MIB, cpu_seconds=20, wall_seconds=20)
TASK = "tests.sandbox.tasks:act"


@pytest.fixture
def document() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789" * 1000)
        file.flush()
        yield file


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[SandboxPool]:
    async with pool_of("prepare") as running:
        yield running


@contextlib.asynccontextmanager
async def pool_of(prepare: str | None = None, *, size: int = 2, limits: Limits = LIMITS) -> AsyncIterator[SandboxPool]:
    name = prepare and f"tests.sandbox.tasks:{prepare}"
    async with SandboxPool(size, limits, task=TASK, prepare=name) as pool:
        yield pool


async def outcome(pool: SandboxPool, file: BinaryIO, do: str, limits: Limits | None = None, **arguments: Any) -> bytes:
    """All results, joined."""
    async with pool.run(file.fileno(), {"do": do, **arguments}, limits) as results:
        return b"".join([frame async for frame in results])


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def wait_until_gone(pid: int) -> None:
    """Of a process that is no child of this one."""
    async with asyncio.timeout(30):
        while os.path.exists(f"/proc/{pid}"):
            await asyncio.sleep(0.01)
