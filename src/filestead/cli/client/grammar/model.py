"""The entries of the command tables, and a parsed command line."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag. Its value goes to `location` as `wire_name`, or sets that member of the mapping flag `parent`."""

    name: str
    help: str
    kind: Literal["text", "integer", "switch", "mapping", "path"] = "text"
    placeholder: str = "string"
    short: str = ""
    location: Literal["path", "query", "body", "client"] = "client"
    required: bool = False
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    env_var: str = ""
    parent: str = ""

    @property
    def wire_name(self) -> str:
        """The name of the member or parameter in the request."""
        return self.name.rpartition(".")[2].replace("-", "_")


@dataclass(frozen=True, slots=True)
class Command:
    """A command. `handler` is `module:function`, loaded on call; the function takes the `Command` and `ParsedArgs`."""

    name: str
    help: str
    flags: tuple[Flag, ...] = ()
    handler: str = ""
    description: str = ""
    examples: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class ParsedArgs:
    """A parsed command line: values by flag name, positional arguments, and whether help was requested."""

    values: dict[str, Any] = field(default_factory=dict)
    positionals: list[str] = field(default_factory=list)
    help: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a flag, or the default if it is not set."""
        return self.values.get(name, default)
