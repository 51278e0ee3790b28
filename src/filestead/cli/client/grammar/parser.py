"""Parser for the grammar of the official command line, driven by tables of flags. No parser library supports it.

A flag is `--name value`, `--name=value` or `-name value`. Flags may precede or follow positionals; global flags are
accepted at every level. A flag consumes the next word, whatever that looks like. The last of a repeated flag wins, and
`--` ends the flags. A positional sets the first unset path flag. Numbers have the syntax of Go (`scalars.py`).
"""

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

from filestead.cli.client.grammar.model import Command, Flag, ParsedArgs
from filestead.cli.client.grammar.scalars import parse_integer, parse_number
from filestead.cli.errors import UsageError, closest_match

TRUE_WORDS = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def parse_args(
    words: Iterable[str], flags: Iterable[Flag], args: ParsedArgs, *, stop_at_positional: bool = False
) -> list[str]:
    """Add flags and positionals to `args`. With `stop_at_positional`, return the words from the first positional on."""
    flags_by_name = {name: flag for flag in flags for name in (flag.name, flag.short) if name}
    rest = iter(list(words))
    for word in rest:
        if word == "--":
            if stop_at_positional:
                return list(rest)
            args.positionals.extend(rest)
        elif word.startswith("-") and len(word) > 1:
            _parse_flag(word, rest, flags_by_name, args)
        elif stop_at_positional:
            return [word, *rest]
        else:
            args.positionals.append(word)
    return []


def assign_positionals(command: Command, args: ParsedArgs) -> None:
    """Assign positionals to the unset path flags, in order; an empty one counts as missing. Raises `UsageError`."""
    remaining = list(args.positionals)
    for flag in command.flags:
        if flag.location == "path" and flag.name not in args.values and remaining:
            word = remaining.pop(0)
            if word:
                args.values[flag.name] = word
    if remaining:
        suggestion = _suggest_command(command, args, remaining)
        raise UsageError(f"unexpected extra arguments: {' '.join(remaining)}{suggestion}")


def require_flags(command: Command, args: ParsedArgs, given: Iterable[str] = ()) -> None:
    """Raise `UsageError` if a required flag is neither set nor among the wire names `given`."""
    missing = [
        f"--{flag.name}"
        for flag in command.flags
        if flag.required and flag.name not in args.values and flag.wire_name not in set(given)
    ]
    if missing:
        raise UsageError(f"missing required {'flag' if len(missing) == 1 else 'flags'} {', '.join(missing)}")


def _suggest_command(command: Command, args: ParsedArgs, extra: list[str]) -> str:
    """The command line that was probably intended."""
    line = f"filestead {command.title}"
    if any(flag.name == "file" and flag.kind == "path" and flag.location == "body" for flag in command.flags):
        if len(extra) > 1 or "file" in args.values:
            return (
                "; files are uploaded one at a time. If the shell expanded a pattern, use a loop: "
                f'for file in *.jsonl; do {line} --file "$file" --purpose PURPOSE; done'
            )
        return f"; pass the file with a flag: {line} --file {shlex.quote(extra[0])} --purpose PURPOSE"
    if not any(flag.location == "path" for flag in command.flags):
        return ""
    body_flags = [flag for flag in command.flags if flag.location == "body"]
    if names := [flag.name for flag in body_flags if flag.repeatable and flag.kind == "text"]:
        return "; pass them with a flag: " + " ".join(f"--{names[0]} {shlex.quote(word)}" for word in extra)
    if names := [flag.name for flag in body_flags if flag.required and flag.name not in args.values]:
        return f"; pass it with a flag: --{names[0]} {shlex.quote(' '.join(extra))}"
    return f"; IDs are accepted one at a time: printf '%s\\n' ID ID | xargs -n 1 {line}"


def _parse_flag(word: str, rest: Iterator[str], flags_by_name: dict[str, Flag], args: ParsedArgs) -> None:
    name, equals, value = word.lstrip("-").partition("=")
    if name in {"help", "h"}:
        args.help = True
        return
    flag = flags_by_name.get(name)
    if flag is None:
        similar = closest_match(name, flags_by_name)
        raise UsageError(f"unknown flag {word.partition('=')[0]}" + (f"; did you mean --{similar}?" if similar else ""))
    if flag.kind == "switch":
        _store_value(flag, value if equals else "true", None, args)
        return
    if equals and not value:
        raise UsageError(f'--{flag.name} requires a value (for an empty one, use --{flag.name} "")')
    if not equals:
        try:
            value = next(rest)
        except StopIteration:
            raise UsageError(f"--{flag.name} requires a value") from None
    _store_value(flag, value, flags_by_name.get(flag.parent), args)


def _store_value(flag: Flag, text: str, parent: Flag | None, args: ParsedArgs) -> None:
    try:
        value = parse_value(flag, text)
    except ValueError as error:
        raise UsageError(f'invalid value "{text}" for --{flag.name}: {error}') from None
    if parent is None:
        args.values[flag.name] = [*args.get(flag.name, ()), value] if flag.repeatable else value
    elif parent.repeatable:
        *before, last = args.get(parent.name) or [None]
        if not isinstance(last, dict) or flag.wire_name in last:
            # A member that the last mapping has already begins the next one.
            before, last = args.get(parent.name, []), {}
        args.values[parent.name] = [*before, {**last, flag.wire_name: value}]
    else:
        args.values[parent.name] = {**(args.get(parent.name) or {}), flag.wire_name: value}


def parse_value(flag: Flag, text: str) -> Any:
    """The value of a flag, or of a piped member of its name. Raises `ValueError` with the reason."""
    if flag.kind == "switch":
        if text not in TRUE_WORDS | FALSE_WORDS:
            raise ValueError("must be true or false")
        return text in TRUE_WORDS
    if flag.kind == "integer":
        return parse_integer(text)
    if flag.kind == "number":
        return parse_number(text)
    if flag.kind == "nullable":
        return None if text == "null" else text
    if flag.kind in {"mapping", "any"}:
        from filestead.cli.client.grammar import values  # noqa: PLC0415 - rarely needed

        return values.parse_mapping(text) if flag.kind == "mapping" else values.parse_any(text)
    if flag.choices and text.lower() not in flag.choices:
        raise ValueError(f"must be one of {', '.join(flag.choices)}")
    return text
