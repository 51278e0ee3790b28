"""Members of a request that are piped in as YAML or JSON: they set flags, and merge with the members set by flags."""

import math
from typing import Any

from filestead.cli.client.grammar.model import Command, Flag, ParsedArgs
from filestead.cli.client.grammar.parser import parse_value
from filestead.cli.client.grammar.scalars import format_float, format_scalar
from filestead.cli.client.request_bodies import json_text
from filestead.cli.errors import UsageError


def set_parameters(command: Command, args: ParsedArgs, members: dict[str, Any]) -> None:
    """Move the members that are path and query parameters to their flags, unless those are set.

    Raises `UsageError` for a value that is not of the type of its flag.
    """
    for flag in command.flags:
        if flag.location in {"path", "query"} and flag.wire_name in members:
            value = members.pop(flag.wire_name)
            if flag.name not in args.values:
                args.values[flag.name] = _value_for(flag, flag.wire_name, value)


def merge_members(command: Command, flag_values: dict[str, Any], members: dict[str, Any]) -> dict[str, Any]:
    """The members of the body. Those set by flags win.

    A mapping keeps the piped members that have a flag of their own (`--expires-after.seconds`); as in the official
    client, those win. Raises `UsageError` for one that is not of the type of its flag.
    """
    if command.files:
        # A form has no null: an empty mapping sends nothing, and replaces the piped member.
        flag_values = {name: {} if value is None else value for name, value in flag_values.items()}
    merged = {**members, **flag_values}
    for parent in command.flags:
        piped = members.get(parent.wire_name)
        if parent.location != "body" or not isinstance(piped, dict) or merged[parent.wire_name] is None:
            continue
        inner = {
            flag.wire_name: _value_for(flag, f"{parent.wire_name}.{flag.wire_name}", piped[flag.wire_name])
            for flag in command.flags
            if flag.parent == parent.name and flag.wire_name in piped
        }
        if isinstance(merged[parent.wire_name], dict):
            merged[parent.wire_name] = {**merged[parent.wire_name], **inner}
    return merged


def _value_for(flag: Flag, name: str, value: Any) -> Any:
    """A piped value as the value of a flag: read again from its text, as the official client does."""
    try:
        if value is None or isinstance(value, dict | list):
            text = json_text(value)
        elif isinstance(value, float) and math.isfinite(value):
            text = format_float(value)
        else:
            text = value if isinstance(value, str) else format_scalar(value)
        return parse_value(flag, text)
    except ValueError as error:
        raise UsageError(f"invalid value for {name} on standard input: {error}") from None
