"""Commands that a row of a table describes completely: send one JSON request, print what comes back.

Members of the body are sent in alphabetical order, as by the official client.
"""

import json
import re
from typing import Any

from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.grammar.parser import assign_positionals, require_flags
from filestead.cli.client.grammar.scalars import format_scalar
from filestead.cli.client.grammar.values import expand_file_reference, read_piped_body
from filestead.cli.client.operations import print_list, print_object, print_page, require_ids
from filestead.cli.errors import UsageError
from filestead.client._transport.requests import Pairs, Request, escape_path_segment

BETA: Pairs = (("OpenAI-Beta", "assistants=v2"),)
"""What the official client sends with every request on vector stores."""


def run(command: Command, args: ParsedArgs) -> None:
    """Run a command of `RESOURCE_HANDLER`."""
    assign_positionals(command, args)
    piped = read_piped_body()
    if not isinstance(piped, dict):
        raise UsageError("standard input is not a mapping of request members")
    elsewhere = {flag.wire_name: flag for flag in command.flags if flag.location in {"path", "query"}}
    for name, flag in elsewhere.items():
        if name in piped:
            args.values.setdefault(flag.name, format_scalar(piped[name]))
    members = {name: value for name, value in piped.items() if name not in elsewhere} | _body_members(command, args)
    require_flags(command, args, given=members)
    require_ids(command, args)
    path = re.sub(r"\{([\w-]+)\}", lambda name: escape_path_segment(args.get(name[1])), command.path)
    if command.prints == "list":
        print_list(command, args, path, BETA)
        return
    body = json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":")) if command.has_body else None
    encoded = None if body is None else body.encode("utf-8", "surrogateescape")
    request = Request(command.method, path, headers=BETA, body=encoded)
    (print_page if command.prints == "page" else print_object)(command, args, request)


def _body_members(command: Command, args: ParsedArgs) -> dict[str, Any]:
    """The members that flags set; null is a value of a nullable flag only."""
    return {
        flag.wire_name: _expand(args.get(flag.name))
        for flag in command.flags
        if flag.location == "body"
        and flag.name in args.values
        and (args.get(flag.name) is not None or flag.kind in {"nullable", "any"})
    }


def _expand(value: Any) -> Any:
    """Replace `@path` with the content of the file, wherever it is in the value."""
    if isinstance(value, dict):
        return {name: _expand(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_expand(item) for item in value]
    return expand_file_reference(value) if isinstance(value, str) else value
