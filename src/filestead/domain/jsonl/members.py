"""Checks on the members of a JSON object, with faults that name the member by its path.

An optional member that is null counts as absent: clients dump their models with every member. What is nested in an
object is decoded (`LazyValue`) only when a check reads it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from filestead.domain.jsonl.limits import SHOWN

JsonObject = Mapping[str, Any]
Check = Callable[[JsonObject], object]
"""Raises `LineFault` unless the object is well formed."""
MemberCheck = Callable[[JsonObject, str], object]
"""Raises `LineFault` unless the member of that name is well formed."""

MEMBERS = (
    *("item", "sample", "custom_id", "method", "url", "body", "model", "stream", "prompt", "completion", "input"),
    *("preferred_output", "non_preferred_output", "preferred_completion", "non_preferred_completion"),
    *("messages", "tools", "parallel_tool_calls", "functions", "role", "content", "tool_call_id", "name", "weight"),
    *("refusal", "tool_calls", "function_call", "type", "text", "image_url", "id", "function", "arguments"),
    *("api_base", "api_key", "base_url", "max_tokens", "max_completion_tokens", "max_output_tokens"),
)
"""Every member that any check reads; all others are skipped."""


class LineFault(Exception):
    """A fault of a line: the path of the member, and a predicate that completes the sentence."""

    def __init__(self, member: str, complaint: str) -> None:
        super().__init__(f"'{member}' {complaint}" if member else complaint)
        self.member = member
        self.complaint = complaint

    def within(self, holder: str) -> "LineFault":
        """The same fault with the path from one level further out."""
        return LineFault(f"{holder}.{self.member}" if self.member else holder, self.complaint)


class LazyValue(Protocol):
    """An object or list that is not decoded yet."""

    def read(self) -> JsonObject | Sequence[Any]:
        """Decode one level: the members of an object that are in `MEMBERS`, or the items of a list.

        Raises `LineFault` for a list that is too large to decode and has an item that is not an object.
        """


def read(value: object) -> object:
    """The value; one level of a lazy value is decoded."""
    reading = getattr(value, "read", None)
    return value if reading is None else reading()


def is_present(holder: JsonObject, name: str) -> bool:
    """Whether an optional member is present and not null."""
    return holder.get(name) is not None


def check_present(holder: JsonObject, checks: Mapping[str, MemberCheck]) -> None:
    """Check the optional members that are present."""
    for name, check in checks.items():
        if holder.get(name) is not None:
            check(holder, name)


def require_string(holder: JsonObject, name: str) -> str:
    """The member, which may be empty."""
    value = holder.get(name)
    if not isinstance(value, str):
        raise unexpected(holder, name, "a string")
    return value


def require_text(holder: JsonObject, name: str) -> str:
    """The member, which may not be empty."""
    value = holder.get(name)
    if not isinstance(value, str) or not value:
        raise unexpected(holder, name, "a non-empty string")
    return value


def require_one_of(holder: JsonObject, name: str, choices: tuple[str, ...]) -> str:
    """The member, which is one of these strings."""
    value = holder.get(name)
    if value not in choices:
        names = ", ".join(f"'{choice}'" for choice in choices)
        raise unexpected(holder, name, f"one of {names}" if len(choices) > 1 else names)
    return str(value)


def require_object(holder: JsonObject, name: str, check: Check | None = None) -> JsonObject:
    """The member, an object that passes the check."""
    value = read(holder.get(name))
    if not isinstance(value, Mapping):
        raise unexpected(holder, name, "an object")
    if check is not None:
        try:
            check(value)
        except LineFault as fault:
            raise fault.within(name) from None
    return value


def require_objects(
    holder: JsonObject, name: str, check: Check, *, least: int = 1, most: int | None = None
) -> list[JsonObject]:
    """The member, a list of objects that pass the check."""
    try:
        value = read(holder.get(name))
    except LineFault as fault:
        raise LineFault(f"{name}{fault.member}", fault.complaint) from None
    if not isinstance(value, list) or len(value) < least:
        raise unexpected(holder, name, "a non-empty list" if least else "a list")
    if most is not None and len(value) > most:
        raise LineFault(name, f"has {len(value)} members; expected at most {most}")
    return [_object(item, f"{name}[{index}]", check) for index, item in enumerate(value)]


def _object(item: object, path: str, check: Check) -> JsonObject:
    value = read(item)
    try:
        if not isinstance(value, Mapping):
            raise LineFault("", f"is {shown(value)}; expected an object")
        check(value)
    except LineFault as fault:
        raise fault.within(path) from None
    return value


def unexpected(holder: JsonObject, name: str, expected: str) -> LineFault:
    """The fault of a member that is missing or not what it should be."""
    if name not in holder:
        return LineFault(name, "is missing")
    return LineFault(name, f"is {shown(holder[name])}; expected {expected}")


def shown(value: object) -> str:
    """A user's value as it may stand in a sentence."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        text = repr(value[: SHOWN + 1])
        return (text if len(text) <= SHOWN + 2 else f"{text[: SHOWN - 2]}...{text[0]}") if value else "an empty string"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, int | float):
        return "a number"
    return "an object" if isinstance(value, Mapping) else str(value)
