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

OURS = (
    "list",
    "create",
    "retrieve",
    "delete",
    "content",
    "error",
    "auth",
    "base",
    "format",
    "shape",
    "body",
    "extra",
    "positional",
    "env",
    "global",
    "flag",
    "debug",
    "raw",
    "transform",
    "gjson",
    "vs",
    "vsf",
    "vsfb",
    "uploads",
    "command",
    "double",
    "retries",
    "subcommand",
    "unknown",
)
"""The groups of records about commands of ours. Help, completion and the version are ours and not compared."""
RESOURCES = ("files", "uploads", "uploads:parts", "vector-stores", "vector-stores:files", "vector-stores:file-batches")
GOAL = 0.97
PROGRAM = [str(Path(sys.executable).with_name("filestead"))]
DEVIATIONS: dict[str, str] = tomllib.loads((Path(__file__).parent / "deviations.toml").read_text())


def recorded() -> list[dict[str, Any]]:
    folder = os.environ.get("FILESTEAD_CONFORMANCE_DATA", "")
    path = Path(folder, "golden", "cli.jsonl")
    if not folder or not path.exists():
        return []
    records = [json.loads(line) for line in path.open()]
    return [record for record in records if record["id"].split("-")[0] in OURS and "help" not in record]


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
    assert len(RECORDS) > 670


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
    wanted, got = replay.comparable(record), replay.comparable(run_until_interrupted_as_recorded(record, replay))
    for name in record.get("varies", []):
        wanted.pop(name, None)
        got.pop(name, None)
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
