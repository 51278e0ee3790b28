"""The entries of the command tables, and a parsed command line."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag. Its value goes to `location` as `wire_name`, or sets that member of the mapping flag `parent`.

    A flag of the kind `texts` or `mappings` may be repeated. If `parent` is of the kind `mappings` (`parent_is_list`),
    a member is set in the last mapping, or in a new one if that has it already. The word `null` as `nullable` text is
    null.
    """

    name: str
    help: str
    kind: Literal["text", "nullable", "integer", "number", "switch", "mapping", "any", "texts", "mappings", "path"] = (
        "text"
    )
    placeholder: str = "string"
    short: str = ""
    location: Literal["path", "query", "body", "client"] = "client"
    required: bool = False
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    env_var: str = ""
    parent: str = ""
    parent_is_list: bool = False
    key: str = ""
    """The name in the request, if it is not that of the flag."""

    @property
    def wire_name(self) -> str:
        """The name of the member or parameter in the request."""
        return self.key or self.name.rpartition(".")[2].replace("-", "_")


@dataclass(frozen=True, slots=True)
class Command:
    """A command. `handler` is `module:function`, loaded on call; the function takes the `Command` and `ParsedArgs`.

    The handler `RESOURCE_HANDLER` sends `method` and `path`, in which names in braces are path flags, and prints the
    response: one object, a list of which all pages are fetched, or the data of a page that has no successor.
    """

    name: str
    help: str
    flags: tuple[Flag, ...] = ()
    handler: str = ""
    group: str = "files"
    method: str = "GET"
    path: str = ""
    has_body: bool = False
    """Whether the request has a JSON body: of the flags for it, and of members on standard input."""
    prints: Literal["object", "list", "page"] = "object"
    description: str = ""
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """Group and name."""
        return f"{self.group} {self.name}"


RESOURCE_HANDLER = "filestead.cli.client.commands.resources:run"


@dataclass(slots=True)
class ParsedArgs:
    """A parsed command line: values by flag name, positional arguments, and whether help was requested."""

    values: dict[str, Any] = field(default_factory=dict)
    positionals: list[str] = field(default_factory=list)
    help: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a flag, or the default if it is not set."""
        return self.values.get(name, default)
