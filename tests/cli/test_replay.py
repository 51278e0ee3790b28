"""The recorded runs of the official `openai`, repeated with ours: requests, output, files and exit codes.

Every run matches, or stands in deviations.toml with its reason and does not match.
"""

import importlib.util
import json
import os
import stat
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from filestead.cli.client.catalog.global_flags import GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS

RESOURCES = ("files", "uploads", "uploads:parts", "vector-stores", "vector-stores:files", "vector-stores:file-batches")
GOAL = 0.97
PROGRAM = [str(Path(sys.executable).with_name("filestead"))]
DEVIATIONS: dict[str, str] = tomllib.loads((Path(__file__).parent / "deviations.toml").read_text())


def recorded() -> list[dict[str, Any]]:
    folder = os.environ.get("FILESTEAD_CONFORMANCE_DATA", "")
    path = Path(folder, "golden", "cli.jsonl")
    if not folder or not path.exists():
        return []
    return [json.loads(line) for line in path.open()]


RECORDS = recorded()


@pytest.fixture(scope="session")
def replay(conformance_data: Path) -> ModuleType:
    """The runner and checker that came with the records."""
    spec = importlib.util.spec_from_file_location("replay", conformance_data / "golden" / "replay.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_records_are_there(conformance_data: Path) -> None:
    assert len(RECORDS) == 737


def test_at_least_97_percent_match(conformance_data: Path) -> None:
    unknown = DEVIATIONS.keys() - {record["id"] for record in RECORDS}
    assert not unknown
    assert len(DEVIATIONS) / len(RECORDS) <= 1 - GOAL


@pytest.mark.parametrize("resource", RESOURCES)
def test_at_least_97_percent_of_each_resource(conformance_data: Path, resource: str) -> None:
    of_it = [record["id"] for record in RECORDS if resource in record["argv"]]
    assert of_it
    assert sum(name in DEVIATIONS for name in of_it) / len(of_it) <= 1 - GOAL


@pytest.mark.parametrize("record", RECORDS, ids=[record["id"] for record in RECORDS])
def test_run(record: dict[str, Any], replay: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    require_what_it_needs(record)
    result = run_as_recorded(record, replay, monkeypatch)
    wanted, got = replay.comparable(record), replay.comparable(result)
    for name in record.get("varies", []):
        wanted.pop(name, None)
        got.pop(name, None)
    if "help" in record:
        wanted["stdout"], got["stdout"] = names_on_help_screen(record["help"]), words_of_help_screen(got["stdout"])
        got["stdout"] &= wanted["stdout"]
    if record["id"] in DEVIATIONS:
        assert got != wanted, "this run matches now: take it off deviations.toml"
    else:
        assert got == wanted


SIGNAL_SECONDS = 30


def run_as_recorded(record: dict[str, Any], replay: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recorded signal was sent in the middle of the request: it waits for that, and not for a time.

    The response comes long after, so that a program that ignores the signal is found out. Without a request, the signal
    is sent in the end, and the run does not match.
    """
    if not record.get("signal"):
        return replay.run_case(record, PROGRAM)  # type: ignore[no-any-return]
    assert record["requests"] and record["stub_script"][0]["delay_ms"] >= 2000
    stubs: list[Any] = []

    class WatchedStub(replay.Stub):  # type: ignore[misc, name-defined]
        def __init__(self, script: list[dict[str, Any]]) -> None:
            super().__init__(script)
            stubs.append(self)

    class OnRequest(threading.Thread):
        """Stands in for the timer of the runner."""

        def __init__(self, _: float, send_signal: Callable[[], object]) -> None:
            super().__init__(daemon=True)
            self._send_signal = send_signal

        def run(self) -> None:
            deadline = time.monotonic() + SIGNAL_SECONDS
            while not stubs[0].requests and time.monotonic() < deadline:
                time.sleep(0.005)
            self._send_signal()

    monkeypatch.setattr(replay, "Stub", WatchedStub)
    monkeypatch.setattr(replay, "threading", SimpleNamespace(**{**vars(threading), "Timer": OnRequest}))
    return replay.run_case(record, PROGRAM)  # type: ignore[no-any-return]


def names_on_help_screen(screen: dict[str, Any]) -> set[str]:
    """The commands and flags on a recorded help screen, of those that are ours. The text of such a screen is not recorded."""
    of_others = {f"--{flag.name}" for flag in GLOBAL_FLAGS if flag.help.startswith("Accepted for")} | {"--help"}
    flags = {option["names"][0] for option in screen.get("options", [])}
    commands = set(screen.get("commands", []))
    return (flags - of_others) | (commands & GROUPS.keys() if screen["name"] == "openai" else commands)


def words_of_help_screen(text: str) -> set[str]:
    assert text.startswith("filestead"), text
    return set(text.replace(",", " ").split())


def require_what_it_needs(record: dict[str, Any]) -> None:
    """Some runs are of another user, or with the system's media types hidden, and only root can arrange that."""
    if not record.get("uid") and not record.get("mime_tables"):
        return
    if os.geteuid() != 0:
        pytest.skip("needs root: the run is of another user or hides files of the system")
    if record.get("uid") and not all(map(open_to_all, [Path(sys.executable).resolve(), Path(PROGRAM[0]).resolve()])):
        pytest.skip("the interpreter is in a folder that another user may not enter")


def open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
