"""Starting: a client command loads what it needs and no more, and needs no more than the base dependencies."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cli.commandline import CommandLine
from tests.support.servers import Server

ROOT = Path(__file__).parents[2]
HEAVY = (
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "pydantic",
    "pydantic_settings",
    "cyclopts",
    "alembic",
    "rich",
    "numpy",
    "Stemmer",
)
SELDOM = ("yaml",)
RUN = "import sys; sys.argv[0] = 'filestead'; from filestead.cli.main import run; code = run(sys.argv[1:]); "
LOADED = RUN + "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"


def loaded(cli: CommandLine, *words: str, stdin: bytes = b"") -> set[str]:
    """The packages that a command loads."""
    command = [sys.executable, "-c", LOADED, *words]
    done = subprocess.run(
        command,
        cwd=cli.folder,
        env={**cli.env, "COMPLETION_STYLE": "bash"},
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return set(done.stderr.decode().splitlines()[-1].split())


@pytest.fixture
def file_id(server: Server) -> Any:
    return server.upload(b"hello")["id"]


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "files --help",
        "files create --help",
        "vector-stores --help",
        "vector-stores search --help",
        "__complete files cr",
        "files list",
        "files retrieve ID",
        "files content ID",
        "files content ID -o out.txt",
        "files create --file a.txt --purpose user_data",
        "files delete ID",
    ],
)
def test_what_a_client_command_loads(cli: CommandLine, file_id: str, words: str) -> None:
    (cli.folder / "a.txt").write_text("x")
    found = loaded(cli, *words.replace("ID", file_id).split())
    assert found.isdisjoint(HEAVY), found & set(HEAVY)
    assert found.isdisjoint(SELDOM), found & set(SELDOM)
    if "--help" in words or "__" in words:
        assert found.isdisjoint({"httpx2", "msgspec"})


def test_a_command_loads_the_table_of_its_group_only(cli: CommandLine) -> None:
    code = RUN + "print(*[name for name in sys.modules if '.catalog.' in name], file=sys.stderr)"
    found = {}
    for group in ("files", "vector-stores:files"):
        command = [sys.executable, "-c", code, group, "list", "--help"]
        done = subprocess.run(command, cwd=cli.folder, env=cli.env, capture_output=True, timeout=60, check=True)
        found[group] = {name.rpartition(".")[2] for name in done.stderr.decode().splitlines()[-1].split()}
    assert found["files"] == {"global_flags", "groups", "files"}
    assert found["vector-stores:files"] == {"global_flags", "groups", "vector_store_files", "vector_store_flags"}


@pytest.mark.usefixtures("file_id")  # an empty list has nothing to transform
def test_what_is_loaded_where_it_is_needed(cli: CommandLine) -> None:
    assert "yaml" in loaded(cli, "files", "list", "--format", "yaml", stdin=b"{limit: 1}")


@pytest.mark.parametrize(("words", "most"), [("--help", 110), ("__complete files cr", 110), ("files list", 390)])
def test_so_many_modules_are_loaded(cli: CommandLine, words: str, most: int) -> None:
    code = RUN + "print(len(sys.modules), file=sys.stderr)"
    command = [sys.executable, "-c", code, *words.split()]
    env = {**cli.env, "COMPLETION_STYLE": "bash"}
    done = subprocess.run(command, cwd=cli.folder, env=env, capture_output=True, timeout=60, check=True)
    assert int(done.stderr.decode().split()[-1]) <= most


def processor_seconds(*command: "str | Path", cli: CommandLine) -> float:
    """What a program takes of the processor: all of its time on an idle machine, and not more on a busy one."""
    program = subprocess.Popen(
        command, cwd=cli.folder, env=cli.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)
    assert program.returncode == 0
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(("words", "most"), [("files list --limit 1 --max-items 1", 0.250), ("--help", 0.060)])
def test_the_time_it_takes(cli: CommandLine, words: str, most: float) -> None:
    # What bare Python takes shows how slow the machine is. Other work makes some runs slow, and none fast.
    bare = min(processor_seconds(sys.executable, "-c", "pass", cli=cli) for _ in range(5))
    limit = bare + most * max(1.0, bare / 0.015)
    program = (sys.executable, "-m", "filestead.cli.main", *words.split())
    assert any(processor_seconds(*program, cli=cli) < limit for _ in range(20)), limit


# --- with the base dependencies only --------------------------------------------------------------------------------


def base_modules() -> set[str]:
    """The modules of the distributions that `pip install filestead` brings, and of filestead itself."""
    # Not asked of the installed filestead: its metadata is as old as the last `make install`.
    wanted = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    found = {"filestead"}
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            wanted += importlib.metadata.requires(name) or []
    modules = importlib.metadata.packages_distributions()
    return {module for module, names in modules.items() if found & set(map(canonicalize_name, names))} | {"filestead"}


BLOCKED = """
import importlib.abc, json, sys
allowed = set(json.loads(sys.argv.pop(1))) | sys.stdlib_module_names
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
        return None
sys.meta_path.insert(0, Blocker())
from filestead.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def allowed() -> str:
    modules = base_modules()
    assert {"filestead", "httpx2", "msgspec", "yaml", "rich"} <= modules
    assert modules.isdisjoint({"sqlalchemy", "starlette", "cyclopts", "uvicorn"})
    return json.dumps(sorted(modules))


def base_only(cli: CommandLine, allowed: str, *words: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", BLOCKED, allowed, *words]
    return subprocess.run(
        command,
        cwd=cli.folder,
        env={**cli.env, "COMPLETION_STYLE": "bash"},
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        "files create --file a.txt --purpose user_data --expires-after null",
        "files list --format yaml",
        "files list --format pretty --transform {id,bytes}",
        "files retrieve ID --debug",
        "files content ID",
        "files content ID -o out.txt",
        "files delete ID",
        "completion bash",
        "__complete serve --po",
        "--help",
    ],
)
def test_client_commands_need_the_base_dependencies_only(
    cli: CommandLine, allowed: str, file_id: str, words: str
) -> None:
    (cli.folder / "a.txt").write_text("x")
    given = [word.replace("ID", file_id) for word in words.split()]
    done = base_only(cli, allowed, *given)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("command", ["serve", "keys", "verify", "sweep"])
def test_server_commands_say_what_to_install(cli: CommandLine, allowed: str, command: str) -> None:
    done = base_only(cli, allowed, command, "--help")
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.fullmatch(
        r"filestead: this command requires the server libraries, but \w+ is not installed; "
        r"install them with: pip install 'filestead\[server\]'\n",
        done.stderr.decode(),
    )
