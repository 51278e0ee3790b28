"""The entries of the command tables, and a parsed command line.

Some are named tuples: a data class takes every command half a millisecond to define.
"""

import importlib
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag. Its value goes to `location` as `wire_name`, or sets that member of the mapping flag `parent`.

    `nullable` is a text whose value `null` is sent as null; `any` is YAML or JSON. The values of a `repeatable` flag
    form a list.
    """

    name: str
    help: str
    kind: Literal["text", "nullable", "integer", "number", "switch", "mapping", "any", "path"] = "text"
    placeholder: str = "string"
    short: str = ""
    location: Literal["path", "query", "body", "client"] = "client"
    wire: str = ""
    required: bool = False
    repeatable: bool = False
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    env_var: str = ""
    parent: str = ""

    @property
    def wire_name(self) -> str:
        """The name of the member or parameter in the request: `wire`, or else derived from the name of the flag."""
        return self.wire or self.name.rpartition(".")[2].replace("-", "_")


class Endpoint(NamedTuple):
    """The request of a command. `path` has the wire names of path flags in braces.

    The response is an `object`, one `page` of results, or the first of the `pages` of a list. In the `form` of a body,
    values of `path` flags are files.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    response: Literal["object", "page", "pages"] = "object"
    headers: Headers = ()
    body: Literal["json", "form"] = "json"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a group. Flags with a location and the `endpoint` are enough to run it.

    A command that does more has a `handler` instead, `module:function`, loaded on call with the `Command` and
    `ParsedArgs`.
    """

    group: str
    name: str
    help: str
    endpoint: Endpoint | None = None
    flags: tuple[Flag, ...] = ()
    handler: str = "filestead.cli.client.operations:run"
    description: str = ""
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """The words of the command line that name the command: `files retrieve`."""
        return f"{self.group} {self.name}"

    @property
    def has_body(self) -> bool:
        """Whether the request has a body, also if no flag sets a member of it."""
        return any(flag.location == "body" for flag in self.flags)

    @property
    def files(self) -> tuple[Flag, ...]:
        """The flags of the body whose values are paths of files to send."""
        return tuple(flag for flag in self.flags if flag.location == "body" and flag.kind == "path")


class Group(NamedTuple):
    """The commands of one resource. Their table is the `COMMANDS` of `module`, imported when it is needed."""

    help: str
    module: str
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands of the group."""
        commands: tuple[Command, ...] = importlib.import_module(self.module).COMMANDS
        return commands


@dataclass(slots=True)
class ParsedArgs:
    """A parsed command line: values by flag name, positional arguments, and whether help was requested."""

    values: dict[str, Any] = field(default_factory=dict)
    positionals: list[str] = field(default_factory=list)
    help: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a flag, or the default if it is not set."""
        return self.values.get(name, default)
