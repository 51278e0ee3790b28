"""The grammar of the official command line, which no parser library speaks: words become values by a table of flags.

`--name value`, `--name=value`, `-name value`; flags before and behind positionals, global ones at every level; a flag
takes the next word whatever it looks like; the last of a repeated flag wins; `--` ends the flags. A positional fills
the first unset path flag. Numbers are those of Go (`0x10`, `0o17`, `010`, `1_000`).
"""

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TRUE, FALSE = frozenset({"1", "t", "T", "true", "TRUE", "True"}), frozenset({"0", "f", "F", "false", "FALSE", "False"})
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(0[0-7_]+)|0|[1-9][0-9_]*)")


class UsageError(Exception):
    """The words of a command make no sense; the message says which and what to do."""


class UnknownCommand(Exception):
    """There is no such command; the message names the one that was probably meant."""

    def __init__(self, above: str, word: str, names: Iterable[str], synonyms: Mapping[str, str]) -> None:
        """`above` is the command line so far, `names` what may follow it, `synonyms` other words for some of them."""
        names = list(names)
        meant = synonyms.get(word.lower())
        if meant is None or meant.split(" ")[0] not in names:
            meant = closest(word, names)
        hint = f"did you mean '{above} {meant}'?" if meant else f"run '{above} --help' for the commands"
        super().__init__(f"there is no command '{word}'; {hint}")


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag. `where` its value goes, under the name `key`; an inner flag sets one member of the flag `inner_of`."""

    name: str
    help: str
    kind: Literal["text", "integer", "switch", "mapping", "path"] = "text"
    placeholder: str = "string"
    short: str = ""
    where: Literal["path", "query", "body", "client"] = "client"
    required: bool = False
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    variable: str = ""
    inner_of: str = ""

    @property
    def key(self) -> str:
        """The name on the wire."""
        return self.name.rpartition(".")[2].replace("-", "_")


@dataclass(frozen=True, slots=True)
class Command:
    """A command; `run` is the `module:function` that gets the `Words`."""

    name: str
    help: str
    flags: tuple[Flag, ...] = ()
    run: str = ""
    details: str = ""
    examples: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Words:
    """What was said: values by flag name, the words that are no flag's, and whether help was asked for."""

    values: dict[str, Any] = field(default_factory=dict)
    positionals: list[str] = field(default_factory=list)
    help: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a flag that was given."""
        return self.values.get(name, default)


def read(words: Iterable[str], flags: Iterable[Flag], into: Words, *, stop_at_word: bool = False) -> list[str]:
    """Read flags and positionals; with `stop_at_word`, return the words from the first on that is no flag's."""
    table = {name: flag for flag in flags for name in (flag.name, flag.short) if name}
    rest = iter(list(words))
    for word in rest:
        if word == "--":
            if stop_at_word:
                return list(rest)
            into.positionals.extend(rest)
        elif word.startswith("-") and len(word) > 1:
            _read_flag(word, rest, table, into)
        elif stop_at_word:
            return [word, *rest]
        else:
            into.positionals.append(word)
    return []


def fill_positionals(command: Command, said: Words) -> None:
    """Give positionals to the path flags that are not set yet, in order; an empty one counts as missing."""
    left = list(said.positionals)
    for flag in command.flags:
        if flag.where == "path" and flag.name not in said.values and left:
            word = left.pop(0)
            if word:
                said.values[flag.name] = word
    if left:
        raise UsageError(f"unexpected extra arguments: {' '.join(left)}{_way_out(command, said, left)}")


def require(command: Command, said: Words, also: Iterable[str] = ()) -> None:
    """Refuse a command whose required flags are neither set nor among the keys `also`."""
    missing = [
        f"--{flag.name}"
        for flag in command.flags
        if flag.required and flag.name not in said.values and flag.key not in set(also)
    ]
    if missing:
        raise UsageError(f"{'flag' if len(missing) == 1 else 'flags'} {', '.join(missing)} missing")


def _way_out(command: Command, said: Words, left: list[str]) -> str:
    """What somebody who gives a command these words probably wants."""
    line = f"filestead files {command.name}"
    if any(flag.name == "file" for flag in command.flags):
        if len(left) > 1 or "file" in said.values:
            return (
                "; one file is uploaded at a time. If the shell has made these words of a pattern: "
                f'for file in *.jsonl; do {line} --file "$file" --purpose PURPOSE; done'
            )
        return f"; a file is named by a flag: {line} --file {shlex.quote(left[0])} --purpose PURPOSE"
    if any(flag.where == "path" for flag in command.flags):
        return f"; one id is taken at a time: printf '%s\\n' ID ID | xargs -n 1 {line}"
    return ""


def closest(word: str, names: Iterable[str]) -> str | None:
    """The name that a mistyped word is most like."""
    return next(iter(difflib.get_close_matches(word, list(names), n=1, cutoff=0.5)), None)


def integer(text: str) -> int:
    """A whole number of 64 bits; ValueError with the reason."""
    found = _INTEGER.fullmatch(text)
    try:
        value = int(text, 8 if found and found[1] else 0) if found else None
    except ValueError:  # Underscores where there may be none.
        value = None
    if value is None:
        raise ValueError(f'"{text}" is no whole number')
    if not -(2**63) <= value < 2**63:
        raise ValueError(f'"{text}" does not fit into 64 bits')
    return value


def _read_flag(word: str, rest: Iterator[str], table: dict[str, Flag], into: Words) -> None:
    name, equals, value = word.lstrip("-").partition("=")
    if name in {"help", "h"}:
        into.help = True
        return
    flag = table.get(name)
    if flag is None:
        like = closest(name, table)
        raise UsageError(f"unknown flag {word.partition('=')[0]}" + (f"; did you mean --{like}?" if like else ""))
    if flag.kind == "switch":
        if equals and value not in TRUE | FALSE:
            raise UsageError(f'invalid value "{value}" for --{flag.name}: it is true or false')
        into.values[flag.name] = value not in FALSE
        return
    if equals and not value:
        raise UsageError(f'--{flag.name} needs a value (an empty one is --{flag.name} "")')
    if not equals:
        try:
            value = next(rest)
        except StopIteration:
            raise UsageError(f"--{flag.name} needs a value") from None
    _set(flag, value, into)


def _set(flag: Flag, text: str, into: Words) -> None:
    value: Any = text
    try:
        if flag.kind == "integer":
            value = integer(text)
        elif flag.kind == "mapping":
            from filestead.cli.client.values import mapping  # noqa: PLC0415 - YAML is loaded when it is used

            value = mapping(text)
        elif flag.choices and text.lower() not in flag.choices:
            raise ValueError(f"it is one of {', '.join(flag.choices)}")
    except ValueError as error:
        raise UsageError(f'invalid value "{text}" for --{flag.name}: {error}') from None
    if flag.inner_of:
        into.values[flag.inner_of] = {**(into.values.get(flag.inner_of) or {}), flag.key: value}
    else:
        into.values[flag.name] = value
