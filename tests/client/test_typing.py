"""Programs of users under a strict type checker."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.embedded("about the client alone")

GOOD = """
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import filestead
from filestead import (
    APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncFilesClient, AuthenticationError,
    FileContent, FileDeleted, FileObject, FilesClient, FilesteadError, IntegrityError, ListFilesResponse,
    NotFoundError, RateLimitError,
)

def report(done: int, total: int | None) -> None: ...

def use(client: FilesClient) -> None:
    with FilesClient(api_key="k", base_url="http://x", timeout=3.0, max_retries=0, default_headers={"a": "b"}) as made:
        assert_type(made, FilesClient)
    file = client.create_file("path", "batch", expires_after=3600, filename="a", on_progress=report)
    assert_type(file, FileObject)
    assert_type(file.expires_at, int | None)
    client.create_file(Path("x"), "batch", expires_after={"anchor": "created_at", "seconds": 3600})
    client.create_file(b"x", "batch")
    client.create_file(bytearray(b"x"), "batch")
    client.create_file(memoryview(b"x"), "batch")
    client.create_file(io.BytesIO(), "batch")
    client.create_file(iter([b"x"]), "batch")
    client.create_file([b"x"], "batch")
    with open("x", "rb") as opened:
        client.create_file(opened, "batch")
    page = client.list_files(purpose="batch", limit=1, order="asc", after="x")
    assert_type(page, ListFilesResponse)
    assert_type(page.data, list[FileObject])
    assert_type(client.iter_files(limit=3), Iterator[FileObject])
    assert_type(client.retrieve_file("x"), FileObject)
    assert_type(client.delete_file("x"), FileDeleted)
    content = client.download_file("x")
    assert_type(content, FileContent)
    assert_type(content.filename, str | None)
    assert_type(client.download_file("x", "to"), Path)
    assert_type(client.download_file("x", Path("to"), resume=False, on_progress=report), Path)
    assert_type(client.download_file("x", io.BytesIO()), int)
    with open("x", "wb") as target:
        assert_type(client.download_file("x", target), int)
    assert_type(client.stream_file("x", start=3), Iterator[bytes])
    client.close()

async def blocks() -> AsyncIterator[bytes]:
    yield b"x"

async def use_async() -> None:
    async with AsyncFilesClient(api_key="k") as client:
        assert_type(await client.create_file(blocks(), "batch"), FileObject)
        assert_type(await client.create_file("path", "batch"), FileObject)
        assert_type(await client.list_files(), ListFilesResponse)
        async for file in client.iter_files():
            assert_type(file, FileObject)
        assert_type(await client.retrieve_file("x"), FileObject)
        assert_type(await client.delete_file("x"), FileDeleted)
        assert_type(await client.download_file("x"), FileContent)
        assert_type(await client.download_file("x", "to"), Path)
        assert_type(await client.download_file("x", io.BytesIO()), int)
        async for chunk in client.stream_file("x"):
            assert_type(chunk, bytes)
        await client.close()

try:
    pass
except NotFoundError as error:
    assert_type(error.status_code, int)
    assert_type(error.request_id, str | None)
    assert_type(error.param, str | None)
    assert_type(error.message, str)

errors: list[type[FilesteadError]] = [
    APIError, APIConnectionError, APITimeoutError, APIStatusError, AuthenticationError, RateLimitError, IntegrityError
]
version: str = filestead.__version__
"""

BAD = {
    "client.create_file(b'x')": "call-arg",
    "client.create_file(17, 'batch')": "arg-type",
    "client.create_file(open('x'), 'batch')": "arg-type",
    "client.create_file(blocks(), 'batch')": "arg-type",
    "client.create_file(b'x', 'batch', expires_after='soon')": "arg-type",
    "client.retrieve_file(3)": "arg-type",
    "client.list_files('batch')": "call-arg",
    "client.list_files(limit='3')": "arg-type",
    "client.download_file('x', open('y', 'w'))": "call-overload",
    "client.download_file('x').nothing": "attr-defined",
    "client.nothing()": "attr-defined",
    "client.retrieve_file('x').bytes = 3": "misc",
    "FilesClient('key')": "call-arg",
    "from filestead import Nothing": "attr-defined",
}


def check(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(source)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "program.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def test_a_correct_program_passes_the_type_checker(tmp_path: Path) -> None:
    result = check(tmp_path, GOOD)
    assert (result.returncode, result.stdout) == (0, "")


def test_wrong_programs_fail_the_type_checker(tmp_path: Path) -> None:
    first = [
        "from collections.abc import AsyncIterator",
        "from filestead import FilesClient",
        "async def blocks() -> AsyncIterator[bytes]: yield b'x'",
        "client = FilesClient()",
    ]
    result = check(tmp_path, "\n".join([*first, *BAD]) + "\n")
    found = {
        int(line): code
        for line, code in re.findall(r"^program\.py:(\d+): error: .*\[([a-z-]+)\]$", result.stdout, re.MULTILINE)
    }
    expected = {len(first) + 1 + place: code for place, code in enumerate(BAD.values())}
    assert found == expected, result.stdout
