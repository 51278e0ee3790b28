"""Examples of fine-tuning files: supervised chat, reinforcement, preference and completions.

The typed decoders accept nearly every line. The checks below examine the lines that they reject, and name the fault.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol

from filestead.domain.jsonl.decoders import Decode, Decoders, Undecided
from filestead.domain.jsonl.members import (
    JsonObject,
    LineFault,
    MemberCheck,
    check_present,
    is_present,
    read,
    require_object,
    require_objects,
    require_one_of,
    require_string,
    require_text,
    unexpected,
)

MAX_IMAGES = 10
MAX_FUNCTIONS = 128
IMAGE_SCHEMES = ("http://", "https://", "data:")
SCHEME_LENGTH = max(map(len, IMAGE_SCHEMES))

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
OUTPUT_ROLES = ("assistant", "tool")
PARTS = {"user": ("text", "image_url"), "assistant": ("text", "refusal")}
"""The types of content parts of roles that may use more than text."""
INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "refusal")
"""Members that replace the content of an assistant's message."""

SUPERVISED, REINFORCEMENT, PREFERENCE, COMPLETIONS = "supervised chat", "reinforcement", "preference", "completions"
_SUPERVISED_ONLY, _REINFORCEMENT_ONLY, _BOTH = (SUPERVISED,), (REINFORCEMENT,), (SUPERVISED, REINFORCEMENT)
_PREFERENCE_ONLY, _COMPLETIONS_ONLY = (PREFERENCE,), (COMPLETIONS,)


class TypedMessage(Protocol):
    """A message as decoded: its role allows its parts, and its other members are well formed."""

    role: str
    content: Any
    """A string, a list of parts, or neither."""


class TrainingLines:
    """Examples of one file, all for the same fine-tuning method."""

    max_lines: ClassVar[int] = sys.maxsize
    built: ClassVar[bool] = True

    def __init__(self, decoders: Decoders) -> None:
        self.decoders: tuple[Decode, ...] = decoders.training
        self._methods: tuple[str, ...] = ()

    def check_decoded(self, examples: Iterable[Any], number: Callable[[], int]) -> None:
        """Check decoded examples."""
        for example in examples:
            if example.kind != "plain":
                methods = _typed_methods(example)
            elif example.messages[-1].role == "assistant":
                methods = _SUPERVISED_ONLY
            else:
                methods = _typed_chat(example.messages)
            if methods is not self._methods and methods != self._methods:
                self._narrow_methods(methods)

    def check(self, number: int, line: JsonObject) -> None:
        """Check one example, member by member."""
        self._narrow_methods(_methods(line))

    def _narrow_methods(self, methods: tuple[str, ...]) -> None:
        # Many chat examples suit two methods; a file is mixed only if no method suits all of its lines.
        shared = tuple(method for method in self._methods or methods if method in methods)
        if not shared:
            kind, before = " or ".join(methods), " or ".join(self._methods)
            raise LineFault("", f"this is a {kind} example; expected {before}, as in the lines before")
        self._methods = shared


def _typed_methods(example: Any) -> tuple[str, ...]:
    """The methods that suit a decoded example. Raises `Undecided` if it may have a fault."""
    kind = example.kind
    if kind == "chat":
        return _typed_chat(example.messages)
    if any(member.__class__ is not example.absent for member in example.others()):
        raise Undecided
    if kind == "completions":
        return _COMPLETIONS_ONLY
    _typed_chat(example.input.messages, any_end=True)
    for messages in example.outputs():
        _typed_chat(messages, any_end=True)
    return _PREFERENCE_ONLY


def _typed_chat(messages: Sequence[TypedMessage], *, any_end: bool = False) -> tuple[str, ...]:
    answered = False
    lists: list[Any] = []
    for message in messages:
        content = message.content
        if content.__class__ is not str:
            if content.__class__ is list:
                lists.append(content)
            elif not message.may_lack_content():  # type: ignore[attr-defined]
                raise Undecided
        if message.role == "assistant":
            answered = True
    if lists:
        _typed_images(lists)
    if any_end:
        return ()
    if messages[-1].role == "user":
        return _BOTH if answered else _REINFORCEMENT_ONLY
    if not answered:
        raise Undecided
    return _SUPERVISED_ONLY


def _typed_images(contents: list[Any]) -> None:
    addresses = [part.address() for parts in contents for part in parts if part.type == "image_url"]
    if len(addresses) > MAX_IMAGES or not all(map(_is_address, addresses)):
        raise Undecided


def _methods(line: JsonObject) -> tuple[str, ...]:
    """The methods that suit an example. `messages` decides first: any other member may stand beside it."""
    if "messages" in line:
        return _chat(line)
    if "preferred_completion" in line or "non_preferred_completion" in line:
        return _preference(line, "preferred_completion", "non_preferred_completion")
    if "input" in line or "preferred_output" in line or "non_preferred_output" in line:
        return _preference(line, "preferred_output", "non_preferred_output")
    if "prompt" in line or "completion" in line:
        require_string(line, "prompt")
        require_string(line, "completion")
        return (COMPLETIONS,)
    raise LineFault("", "there is no 'messages', no 'input' with two outputs, and no 'prompt' with 'completion'")


def _chat(line: JsonObject) -> tuple[str, ...]:
    roles = [message["role"] for message in _conversation(line)]
    supervised = (SUPERVISED,) if "assistant" in roles else ()
    reinforcement = (REINFORCEMENT,) if roles[-1] == "user" else ()
    if not supervised and not reinforcement:
        raise LineFault("messages", "has no assistant message; expected one, or a user message at the end")
    return supervised + reinforcement


def _preference(line: JsonObject, *outputs: str) -> tuple[str, ...]:
    require_object(line, "input", _conversation)
    for output in outputs:
        require_objects(line, output, _output_message)
    return (PREFERENCE,)


def _conversation(holder: JsonObject) -> list[JsonObject]:
    messages = require_objects(holder, "messages", _message)
    check_present(holder, _OPTIONAL_BESIDE_MESSAGES)
    contents = [content for message in messages if isinstance(content := read(message.get("content")), list)]
    images = sum(read(part)["type"] == "image_url" for content in contents for part in content)  # type: ignore[index]
    if images > MAX_IMAGES:
        raise LineFault("messages", f"has {images} images; expected at most {MAX_IMAGES}")
    return messages


def _output_message(message: JsonObject) -> None:
    require_one_of(message, "role", OUTPUT_ROLES)
    _message(message)


def _message(message: JsonObject) -> None:
    role = require_one_of(message, "role", ROLES)
    if role == "assistant":
        check_present(message, _OPTIONAL_OF_ASSISTANT)
    elif role == "tool":
        require_text(message, "tool_call_id")
    elif role == "function":
        require_text(message, "name")
    if not isinstance(message.get("content"), str) and not _may_lack_content(message, role):
        _parts(message, PARTS.get(role, ("text",)))


def _may_lack_content(message: JsonObject, role: str) -> bool:
    if is_present(message, "content"):
        return False
    if role == "assistant":
        return any(is_present(message, name) for name in INSTEAD_OF_CONTENT)
    return role == "function" and "content" in message


def _parts(message: JsonObject, kinds: tuple[str, ...]) -> None:
    if not isinstance(read(message.get("content")), list):
        raise unexpected(message, "content", "a string or a list of parts")

    def part(value: JsonObject) -> None:
        kind = require_one_of(value, "type", kinds)
        if kind == "image_url":
            _image(value)
        else:
            require_string(value, kind)

    require_objects(message, "content", part)


def _image(part: JsonObject) -> None:
    if isinstance(read(part.get("image_url")), Mapping):
        require_object(part, "image_url", lambda image: _image_address(image, "url"))
    else:
        _image_address(part, "image_url")


def _image_address(holder: JsonObject, name: str) -> None:
    address = holder.get(name)
    if not isinstance(address, str) or not _is_address(address):
        raise unexpected(holder, name, "an http, https or data URL")


def _is_address(address: str) -> bool:
    return address[:SCHEME_LENGTH].lower().startswith(IMAGE_SCHEMES)


def _tool(tool: JsonObject) -> None:
    require_one_of(tool, "type", ("function",))
    require_object(tool, "function", _named)


def _tool_call(call: JsonObject) -> None:
    require_text(call, "id")
    require_one_of(call, "type", ("function",))
    require_object(call, "function", _function_call)


def _function_call(call: JsonObject) -> None:
    require_text(call, "name")
    require_string(call, "arguments")


def _named(function: JsonObject) -> None:
    require_text(function, "name")


def _weight(message: JsonObject, name: str) -> None:
    if type(message[name]) is not int or message[name] not in (0, 1):
        raise unexpected(message, name, "0 or 1")


def _boolean(holder: JsonObject, name: str) -> None:
    if not isinstance(holder[name], bool):
        raise unexpected(holder, name, "true or false")


_OPTIONAL_BESIDE_MESSAGES: dict[str, MemberCheck] = {
    "tools": partial(require_objects, check=_tool, least=0),
    "parallel_tool_calls": _boolean,
    "functions": partial(require_objects, check=_named, most=MAX_FUNCTIONS),
}
_OPTIONAL_OF_ASSISTANT: dict[str, MemberCheck] = {
    "tool_calls": partial(require_objects, check=_tool_call),
    "function_call": partial(require_object, check=_function_call),
    "refusal": require_string,
    "weight": _weight,
}
