"""The tables of commands against the list of the official command line: names, types, and where each value goes."""

import json
from pathlib import Path
from typing import Any

import pytest

from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.client.grammar.model import Command, Flag

COMMANDS = {command.title: command for group in GROUPS.values() for command in group.commands}
OURS_ONLY = {"files create": {"filename", "any-purpose", "no-parts", "no-resume"}}
OURS = {f"batches {name}" for name in ("run", "wait", "results", "retry", "check")}
"""Commands that the official command line does not have."""


def flag(name: str, kind: str, *, required: bool = False, **members: str) -> dict[str, Any]:
    return {"flag": f"--{name}", "type": kind, "required": required, **members}


BATCHES: dict[str, Any] = {
    "batches create": {
        "request": "POST /batches (JSON)",
        "positionals_fill": [],
        "flags": [
            flag("completion-window", "string", required=True, **{"in": "body"}),
            flag("endpoint", "string", required=True, **{"in": "body"}),
            flag("input-file-id", "string", required=True, **{"in": "body"}),
            flag("metadata", "map", **{"in": "body"}),
            flag("output-expires-after", "map", **{"in": "body"}),
            flag("output-expires-after.anchor", "string", of="--output-expires-after", sets_field="anchor"),
            flag("output-expires-after.seconds", "int", of="--output-expires-after", sets_field="seconds"),
        ],
    },
    "batches list": {
        "request": "GET /batches",
        "positionals_fill": [],
        "flags": [
            flag("after", "string", **{"in": "query"}),
            flag("limit", "int", **{"in": "query"}),
            flag("max-items", "int", **{"in": "client"}),
        ],
    },
    "batches retrieve": {
        "request": "GET /batches/{batch_id}",
        "positionals_fill": ["--batch-id"],
        "flags": [flag("batch-id", "string", required=True, **{"in": "path"})],
    },
    "batches cancel": {
        "request": "POST /batches/{batch_id}/cancel",
        "positionals_fill": ["--batch-id"],
        "flags": [flag("batch-id", "string", required=True, **{"in": "path"})],
    },
}
"""The official commands for batches, which the recorded list does not cover: the flags that 1.8.0 shows."""
KINDS = {
    "string": {"text", "path"},
    "string or null": {"nullable"},
    "int": {"integer"},
    "float": {"number"},
    "bool": {"switch"},
    "map": {"mapping"},
    "any": {"any"},
}


@pytest.fixture(scope="module")
def official(conformance_data: Path) -> dict[str, Any]:
    commands: dict[str, Any] = json.loads((conformance_data / "golden" / "commands.json").read_text())["commands"]
    return commands | BATCHES


def test_the_commands_are_the_official_ones(official: dict[str, Any]) -> None:
    assert set(COMMANDS) - OURS == set(official)


def test_commands_of_our_own_say_so() -> None:
    marked = {title for title, command in COMMANDS.items() if command.help.endswith(" (not in `openai`)")}
    assert marked == OURS


@pytest.mark.parametrize("title", [title for title in COMMANDS if title not in OURS])
def test_the_flags_are_the_official_ones(official: dict[str, Any], title: str) -> None:
    command, entry = COMMANDS[title], official[title]
    ours = {flag.name: flag for flag in command.flags if flag.name not in OURS_ONLY.get(title, ())}
    wanted = {flag["flag"].removeprefix("--"): flag for flag in entry["flags"]}
    assert set(ours) == set(wanted)
    for name, flag in ours.items():
        assert_is_official(flag, wanted[name])
    order = [f"--{flag.name}" for flag in command.flags if flag.location == "path"]
    assert order == entry["positionals_fill"], "positionals fill the path flags in this order"


def assert_is_official(flag: Flag, wanted: dict[str, Any]) -> None:
    assert flag.kind in KINDS[wanted["type"].removeprefix("list of ")], flag.name
    assert flag.repeatable is wanted["type"].startswith("list of "), flag.name
    assert flag.required is wanted["required"], flag.name
    if "of" in wanted:
        assert (f"--{flag.parent}", flag.wire_name) == (wanted["of"], wanted["sets_field"])
    else:
        assert flag.location == wanted["in"], flag.name
        assert flag.wire_name == wanted.get("key", flag.wire_name)


@pytest.mark.parametrize(
    "command",
    [entry for entry in COMMANDS.values() if entry.endpoint and entry.title not in OURS],
    ids=lambda one: one.title,
)
def test_the_endpoints_are_the_official_ones(official: dict[str, Any], command: Command) -> None:
    assert command.endpoint
    form = command.endpoint.body == "form"
    body = (" (multipart)" if form else " (JSON)") if command.has_body else ""
    assert f"{command.endpoint.method} {command.endpoint.path}{body}" == official[command.title]["request"]


def test_a_command_has_its_group() -> None:
    for name, group in GROUPS.items():
        assert {command.group for command in group.commands} == {name}


def test_an_inner_flag_has_a_mapping() -> None:
    for command in COMMANDS.values():
        mappings = {flag.name for flag in command.flags if flag.kind == "mapping"}
        assert {flag.parent for flag in command.flags if flag.parent} <= mappings
