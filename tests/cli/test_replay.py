"""The recorded runs of the official `openai`, repeated with ours: requests, output, files and exit codes.

Every run matches, or stands in deviations.toml with its reason and does not match.
"""

import importlib.util
import json
import os
import stat
import sys
import tomllib
from pathlib import Path
from types import ModuleType
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
def test_run(record: dict[str, Any], replay: ModuleType) -> None:
    require_what_it_needs(record)
    result = run_until_interrupted_as_recorded(record, replay)
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


def run_until_interrupted_as_recorded(record: dict[str, Any], replay: ModuleType) -> dict[str, Any]:
    """A recorded signal comes after a fixed time, which on a busy machine may be before the request: such a run is void."""
    for _ in range(3):
        result: dict[str, Any] = replay.run_case(record, PROGRAM)
        if result.get("requests") or not (record.get("signal") and record["requests"]):
            break
    return result


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
