"""Interrupted, cancelled and concurrent downloads, and the files they leave on the disk."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from filestead import AsyncFilesClient, FilesClient, IntegrityError
from filestead.client._parts.async_bounded import run_bounded
from filestead.client._threads import in_thread
from tests.client.any_client import partial_files_in
from tests.client.proxy import Fault, Proxy
from tests.support.servers import Server

CONTENT = os.urandom(3_000_001)
PATIENCE = 60


@pytest.fixture(scope="module")
def stored(server: Server) -> str:
    return server.upload(CONTENT, purpose="vision", name="a.png")["id"]


def test_an_interrupt_leaves_the_target_and_a_part(client: Any, stored: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")

    def interrupt(position: int, total: int | None) -> None:
        if position > 1_500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.download_file(stored, target, on_progress=interrupt)
    assert target.read_bytes() == b"old"
    part = tmp_path / f".out.{stored}.part"
    assert part.stat().st_size > 1_500_000
    assert client.download_file(stored, target).read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["out"]


def test_a_cancelled_download_can_be_resumed(server: Server, stored: str, tmp_path: Path) -> None:
    held = threading.Event()

    async def use() -> None:
        reached = asyncio.Event()
        async with AsyncFilesClient(base_url=proxy.base_url, api_key=server.key) as client:

            def report(position: int, total: int | None) -> None:
                if position >= 1_900_000:
                    reached.set()

            download = asyncio.create_task(client.download_file(stored, tmp_path / "out", on_progress=report))
            await asyncio.wait_for(reached.wait(), PATIENCE)
            download.cancel()
            with pytest.raises(asyncio.CancelledError):
                await download
            assert len(partial_files_in(tmp_path)) == 2
            held.set()
            await client.download_file(stored, tmp_path / "out")

    with Proxy(server.port, [Fault(cut=2_000_000, pause=held)]) as proxy:
        asyncio.run(use())
        assert proxy.seen[1].headers["range"].startswith("bytes=")
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["out"]


def test_concurrent_downloads_to_one_path_both_succeed(
    connect: Any, server: Server, stored: str, tmp_path: Path
) -> None:
    held, reached = threading.Event(), threading.Event()
    target = tmp_path / "out"

    def slow() -> None:
        with FilesClient(base_url=proxy.base_url, api_key=server.key) as client:
            client.download_file(stored, target, on_progress=lambda at, _: at > 1_000_000 and reached.set())

    with Proxy(server.port, [Fault(cut=2_000_000, pause=held)]) as proxy:
        first = threading.Thread(target=slow)
        first.start()
        try:
            assert reached.wait(PATIENCE)
            connect().download_file(stored, target)
            assert target.read_bytes() == CONTENT
            assert partial_files_in(tmp_path) != []
        finally:
            held.set()
            first.join(PATIENCE)
    assert target.read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["out"]


RACE = """
import sys
from pathlib import Path
from filestead.client._download.partial_file import PartialFile
target, letter = Path(sys.argv[1]), sys.argv[2].encode()
for _ in range(300):
    part = PartialFile(target, "file-1", resume=False)
    part.restart(None)
    part.write(letter * 100_000)
    part.commit()
    content = target.read_bytes()
    assert content in (b"a" * 100_000, b"b" * 100_000, b"c" * 100_000), len(content)
"""


def test_concurrent_commits_never_expose_an_incomplete_target(tmp_path: Path) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", RACE, tmp_path / "out", letter]) for letter in "abc"]
    assert [racer.wait(120) for racer in racers] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["out"]


TAKEN = """
import os, sys
from pathlib import Path
from filestead.client._download.partial_file import PartialFile
target = Path(sys.argv[1])
taken = []

def hook(event, arguments):
    if event == "fcntl.flock" and not taken:
        taken.append(event)
        os.replace(part, target)

part = target.with_name(".out.file-1.part")
part.write_bytes(b"whole")
sys.addaudithook(hook)
second = PartialFile(target, "file-1", resume=False)
second.restart(None)
second.write(b"part")
assert taken
print(target.read_text())
second.close(keep_partial=False)
"""


def test_a_part_that_became_the_target_is_not_written(tmp_path: Path) -> None:
    """Another process puts its part in place between our opening and our locking it."""
    result = subprocess.run(
        [sys.executable, "-c", TAKEN, tmp_path / "out"], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == "whole\n"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("fault", [{"cut": 2_900_000, "strip": ("etag",)}, {"corrupt": 2_900_000}])
def test_parts_that_cannot_be_resumed_are_removed(
    connect_with_faults: Any, stored: str, tmp_path: Path, fault: dict[str, Any]
) -> None:
    client, _ = connect_with_faults(Fault(**fault), max_retries=0)
    with pytest.raises(IntegrityError):
        client.download_file(stored, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_an_abandoned_stream_releases_its_connection(server: Server, stored: str) -> None:
    with FilesClient(base_url=server.base_url, api_key=server.key, timeout=PATIENCE) as client:
        for _ in range(120):
            chunks = client.stream_file(stored)
            next(chunks)
            del chunks
        assert client.retrieve_file(stored).bytes == len(CONTENT)


@pytest.mark.parametrize("parallel", [False, True])
def test_work_on_a_thread_is_waited_for_however_often_its_caller_is_cancelled(parallel: bool) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work(_: int) -> None:
        begun.set()
        may_end.wait(PATIENCE)

    async def use() -> None:
        caller = asyncio.create_task(
            run_bounded(lambda item: in_thread(work, item), range(3), 2, lambda: None)
            if parallel
            else in_thread(work, 0)
        )
        await asyncio.to_thread(begun.wait, PATIENCE)
        for _ in range(3):
            caller.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not caller.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(use())
