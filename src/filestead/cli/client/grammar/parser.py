"""The grammar of the official command line, which no parser library speaks: words become values by a table of flags.

`--name value`, `--name=value`, `-name value`; flags before and behind positionals, global ones at every level; a flag
takes the next word whatever it looks like; the last of a repeated flag wins; `--` ends the flags. A positional fills
the first unset path flag. Numbers are those of Go (`0x10`, `0o17`, `010`, `1_000`).
"""

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

from filestead.cli.client.grammar.model import Command, Flag, ParsedArgs
from filestead.cli.client.grammar.scalars import parse_integer
from filestead.cli.errors import UsageError, closest_match

TRUE_WORDS, FALSE_WORDS = (
    frozenset({"1", "t", "T", "true", "TRUE", "True"}),
    frozenset({"0", "f", "F", "false", "FALSE", "False"}),
)


def parse_args(
    words: Iterable[str], flags: Iterable[Flag], args: ParsedArgs, *, stop_at_word: bool = False
) -> list[str]:
    """Read flags and positionals; with `stop_at_word`, return the words from the first on that is no flag's."""
    table = {name: flag for flag in flags for name in (flag.name, flag.short) if name}
    rest = iter(list(words))
    for word in rest:
        if word == "--":
            if stop_at_word:
                return list(rest)
            args.positionals.extend(rest)
        elif word.startswith("-") and len(word) > 1:
            _parse_flag(word, rest, table, args)
        elif stop_at_word:
            return [word, *rest]
        else:
            args.positionals.append(word)
    return []


def assign_positionals(command: Command, args: ParsedArgs) -> None:
    """Give positionals to the path flags that are not set yet, in order; an empty one counts as missing."""
    left = list(args.positionals)
    for flag in command.flags:
        if flag.location == "path" and flag.name not in args.values and left:
            word = left.pop(0)
            if word:
                args.values[flag.name] = word
    if left:
        raise UsageError(f"unexpected extra arguments: {' '.join(left)}{_suggest_command(command, args, left)}")


def require_flags(command: Command, args: ParsedArgs, also: Iterable[str] = ()) -> None:
    """Refuse a command whose required flags are neither set nor among the keys `also`."""
    missing = [
        f"--{flag.name}"
        for flag in command.flags
        if flag.required and flag.name not in args.values and flag.wire_name not in set(also)
    ]
    if missing:
        raise UsageError(f"{'flag' if len(missing) == 1 else 'flags'} {', '.join(missing)} missing")


def _suggest_command(command: Command, args: ParsedArgs, left: list[str]) -> str:
    """What somebody who gives a command these words probably wants."""
    line = f"filestead files {command.name}"
    if any(flag.name == "file" for flag in command.flags):
        if len(left) > 1 or "file" in args.values:
            return (
                "; one file is uploaded at a time. If the shell has made these words of a pattern: "
                f'for file in *.jsonl; do {line} --file "$file" --purpose PURPOSE; done'
            )
        return f"; a file is named by a flag: {line} --file {shlex.quote(left[0])} --purpose PURPOSE"
    if any(flag.location == "path" for flag in command.flags):
        return f"; one id is taken at a time: printf '%s\\n' ID ID | xargs -n 1 {line}"
    return ""


def _parse_flag(word: str, rest: Iterator[str], table: dict[str, Flag], args: ParsedArgs) -> None:
    name, equals, value = word.lstrip("-").partition("=")
    if name in {"help", "h"}:
        args.help = True
        return
    flag = table.get(name)
    if flag is None:
        like = closest_match(name, table)
        raise UsageError(f"unknown flag {word.partition('=')[0]}" + (f"; did you mean --{like}?" if like else ""))
    if flag.kind == "switch":
        if equals and value not in TRUE_WORDS | FALSE_WORDS:
            raise UsageError(f'invalid value "{value}" for --{flag.name}: it is true or false')
        args.values[flag.name] = value not in FALSE_WORDS
        return
    if equals and not value:
        raise UsageError(f'--{flag.name} needs a value (an empty one is --{flag.name} "")')
    if not equals:
        try:
            value = next(rest)
        except StopIteration:
            raise UsageError(f"--{flag.name} needs a value") from None
    _store_value(flag, value, args)


def _store_value(flag: Flag, text: str, args: ParsedArgs) -> None:
    value: Any = text
    try:
        if flag.kind == "integer":
            value = parse_integer(text)
        elif flag.kind == "mapping":
            from filestead.cli.client.grammar.values import parse_mapping  # noqa: PLC0415 - YAML is loaded when it is used

            value = parse_mapping(text)
        elif flag.choices and text.lower() not in flag.choices:
            raise ValueError(f"it is one of {', '.join(flag.choices)}")
    except ValueError as error:
        raise UsageError(f'invalid value "{text}" for --{flag.name}: {error}') from None
    if flag.parent:
        args.values[flag.parent] = {**(args.values.get(flag.parent) or {}), flag.wire_name: value}
    else:
        args.values[flag.name] = value
