"""Import time, loaded packages, and memory for large files."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.any_client import KINDS
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("about the client alone")

MIB = 2**20
IMPORT_SECONDS = 0.150


def run(code: str, *arguments: object) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def processor_seconds(code: str) -> float:
    """What a program takes of the processor: all of its time on an idle machine, and not more on a busy one."""
    measured = "import resource as r; used = r.getrusage(r.RUSAGE_SELF); print(used.ru_utime + used.ru_stime)"
    return float(run(f"{code}; {measured}"))


def test_importing_is_quick() -> None:
    # Other work makes some runs slow, and none fast.
    limit = min(processor_seconds("pass") for _ in range(5)) + IMPORT_SECONDS
    assert any(processor_seconds("from filestead import FilesClient") < limit for _ in range(20)), limit


def test_importing_the_package_loads_nothing() -> None:
    loaded = run("import sys; before = set(sys.modules); import filestead; print(*set(sys.modules) - before)")
    assert set(loaded.split()) == {"filestead"}


def closure(*names: str) -> set[str]:
    """These distributions and all that they need, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        for requirement in needed:
            if "extra ==" not in requirement:
                match = re.match(r"[A-Za-z0-9._-]+", requirement)
                assert match is not None
                waiting.append(match[0])
    return found


ALONE = """
import sys
allowed = set(sys.argv[3].split()) | set(sys.stdlib_module_names) | {"filestead"}

class Gate:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"not a dependency of the client: {name}", name=name)

sys.meta_path.insert(0, Gate())

import asyncio
from filestead import AsyncFilesClient, FilesClient

with FilesClient(base_url=sys.argv[1], api_key=sys.argv[2]) as client:
    file = client.create_file(b"hello", "user_data", filename="a.txt")
    assert client.retrieve_file(file.id) == file
    assert file.id in [row.id for row in client.iter_files()]
    assert client.download_file(file.id) == b"hello"
    assert client.delete_file(file.id).deleted

async def use():
    async with AsyncFilesClient(base_url=sys.argv[1], api_key=sys.argv[2]) as client:
        file = await client.create_file(b"hello", "user_data", filename="a.txt")
        assert await client.retrieve_file(file.id) == file
        assert file.id in [row.id async for row in client.iter_files()]
        assert await client.download_file(file.id) == b"hello"
        assert (await client.delete_file(file.id)).deleted

asyncio.run(use())
print(*sys.modules)
"""


def test_it_works_with_its_own_dependencies_alone(server: Server) -> None:
    distributions = closure("httpx2", "msgspec")
    packages = {
        package
        for package, names in importlib.metadata.packages_distributions().items()
        if any(name.lower().replace("_", "-") in distributions for name in names)
    }
    loaded = run(ALONE, server.base_url, server.key, " ".join(packages)).split()
    assert "httpx2" in loaded
    ours = {name for name in loaded if name.startswith("filestead.")}
    assert {name for name in ours if not name.startswith("filestead.client")} == {"filestead.wire"}
    servers = {
        "sqlalchemy",
        "starlette",
        "uvicorn",
        "pydantic",
        "pydantic_settings",
        "alembic",
        "cyclopts",
        "rich",
        "numpy",
        "Stemmer",
    }
    assert not servers & set(loaded)


LARGE = """
import asyncio, inspect, re, sys
from pathlib import Path
from filestead import AsyncFilesClient, FilesClient
kind, url, key, path, target = sys.argv[1:]
client = (AsyncFilesClient if kind == "async" else FilesClient)(base_url=url, api_key=key)
runner = asyncio.Runner()

def call(result):
    return runner.run(result) if inspect.isawaitable(result) else result

def peak():
    # Not ru_maxrss, which a new process inherits from the one that started it.
    return int(re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1])

small = call(client.create_file(b"x" * 3_000_000, "user_data", filename="a.txt"))
call(client.download_file(small.id, target))
before = peak()
large = call(client.create_file(path, "user_data", filename="a.txt"))
uploaded = peak()
call(client.download_file(large.id, target))
print(large.bytes, uploaded - before, peak() - uploaded)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_a_large_file_needs_little_memory(server: Server, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(200 * MIB)
    size, up, down = map(int, run(LARGE, kind, server.base_url, server.key, path, tmp_path / "out").split())
    assert size == (tmp_path / "out").stat().st_size == 200 * MIB
    assert up * 1024 < 32 * MIB
    assert down * 1024 < 32 * MIB
