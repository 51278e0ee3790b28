"""The types of JSONL lines as msgspec decodes them, for the checks in `domain/jsonl/`.

Members that no check reads are skipped. A type accepts nothing that the checks by member reject; the few faults that
types cannot express (images, endpoints, ids) are checked in the decoded lines.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, ValidationError, defstruct
from msgspec.json import Decoder

from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.jsonl.limits import LARGE
from filestead.domain.jsonl.members import MEMBERS, LineFault
from filestead.domain.jsonl.training import MAX_FUNCTIONS

Text = Annotated[str, Meta(min_length=1)]
Presence = Raw | UnsetType
"""A member of which only the presence matters."""


class AnyObject(Struct, gc=False):
    """An object of which no member is read."""


# --- evals and batch ------------------------------------------------------------------------------------------------


class Item(Struct, gc=False):
    """An item of an eval's data source."""

    item: AnyObject
    sample: AnyObject | None = None


class Body(Struct, gc=False):
    """The body of a batch request."""

    absent: ClassVar[type] = UnsetType
    model: str | None = None
    stream: Literal[False] | None = None
    tools: Presence = UNSET
    instructions: Presence = UNSET
    messages: Presence = UNSET
    input: Presence = UNSET
    prompt: Presence = UNSET
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    api_base: Presence = UNSET
    api_key: Presence = UNSET
    base_url: Presence = UNSET

    def has_prompt(self) -> bool:
        """Whether there is a prompt."""
        return isinstance(self.prompt, Raw) and bytes(self.prompt) != b"null"


class Request(Struct, gc=False):
    """A line of a batch file."""

    custom_id: Text
    method: Literal["POST"]
    url: str
    body: Body


# --- fine-tuning ----------------------------------------------------------------------------------------------------


class TextPart(Struct, tag_field="type", tag="text", gc=False):
    """Text."""

    type: ClassVar[str] = "text"
    text: str


class RefusalPart(Struct, tag_field="type", tag="refusal", gc=False):
    """A refusal, of an assistant only."""

    type: ClassVar[str] = "refusal"
    refusal: str


class ImageAddress(Struct, gc=False):
    """An image's address as an object."""

    url: str


class ImagePart(Struct, tag_field="type", tag="image_url", gc=False):
    """An image, of a user only."""

    type: ClassVar[str] = "image_url"
    image_url: str | ImageAddress

    def address(self) -> str:
        """The URL."""
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url


class Named(Struct, gc=False):
    """A function's declaration."""

    name: Text


class Tool(Struct, gc=False):
    """A tool's declaration."""

    type: Literal["function"]
    function: Named


class FunctionCall(Struct, gc=False):
    """What an assistant calls."""

    name: Text
    arguments: str


class ToolCall(Struct, gc=False):
    """A call with an id."""

    id: Text
    type: Literal["function"]
    function: FunctionCall


class _Message(Struct, tag_field="role", gc=False):
    """Base of all messages."""

    role: ClassVar[str]

    def may_lack_content(self) -> bool:
        """Whether a message of this role may have no content, with the other members that it has."""
        return False


class PlainSystem(_Message, tag="system"):
    """An instruction."""

    role: ClassVar[str] = "system"
    content: str


class PlainUser(_Message, tag="user"):
    """A question."""

    role: ClassVar[str] = "user"
    content: str


class PlainAssistant(_Message, tag="assistant"):
    """An answer."""

    role: ClassVar[str] = "assistant"
    content: str
    tool_calls: Annotated[list[ToolCall], Meta(min_length=1)] | None = None
    function_call: FunctionCall | None = None
    refusal: str | None = None
    weight: Literal[0, 1] | None = None


class System(_Message, tag="system"):
    """An instruction, perhaps in parts."""

    role: ClassVar[str] = "system"
    content: str | Annotated[list[TextPart], Meta(min_length=1)]


class Developer(_Message, tag="developer"):
    """An instruction under its newer name."""

    role: ClassVar[str] = "developer"
    content: str | Annotated[list[TextPart], Meta(min_length=1)]


class User(_Message, tag="user"):
    """A question, perhaps in parts and with images."""

    role: ClassVar[str] = "user"
    content: str | Annotated[list[TextPart | ImagePart], Meta(min_length=1)]


class Assistant(_Message, tag="assistant"):
    """An answer, perhaps in parts, or a call, or a refusal."""

    role: ClassVar[str] = "assistant"
    content: str | Annotated[list[TextPart | RefusalPart], Meta(min_length=1)] | None = None
    tool_calls: Annotated[list[ToolCall], Meta(min_length=1)] | None = None
    function_call: FunctionCall | None = None
    refusal: str | None = None
    weight: Literal[0, 1] | None = None

    def may_lack_content(self) -> bool:
        """True with a call or a refusal."""
        return self.tool_calls is not None or self.function_call is not None or self.refusal is not None


class ToolMessage(_Message, tag="tool"):
    """The result of a tool."""

    role: ClassVar[str] = "tool"
    tool_call_id: Text
    content: str | Annotated[list[TextPart], Meta(min_length=1)]


class FunctionMessage(_Message, tag="function"):
    """The result of a function, which may be null."""

    role: ClassVar[str] = "function"
    name: Text
    content: str | Annotated[list[TextPart], Meta(min_length=1)] | None

    def may_lack_content(self) -> bool:
        """True: null counts as content."""
        return True


Messages = Annotated[list[System | Developer | User | Assistant | ToolMessage | FunctionMessage], Meta(min_length=1)]
Outputs = Annotated[list[Assistant | ToolMessage], Meta(min_length=1)]


class _BesideMessages(Struct, gc=False, kw_only=True):
    """Optional members beside the messages."""

    tools: list[Tool] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[Named], Meta(min_length=1, max_length=MAX_FUNCTIONS)] | None = None


class Conversation(_BesideMessages, kw_only=True):
    """Messages of any role and form."""

    messages: Messages


class PlainChat(_BesideMessages, kw_only=True):
    """Most examples: only text, in the three common roles."""

    kind: ClassVar[str] = "plain"
    messages: Annotated[list[PlainSystem | PlainUser | PlainAssistant], Meta(min_length=1)]


class Chat(Conversation):
    """An example for supervised or reinforcement fine-tuning."""

    kind: ClassVar[str] = "chat"


class _Other(Struct, gc=False, kw_only=True):
    """An example that is not a chat; `messages` makes it one."""

    absent: ClassVar[type] = UnsetType
    messages: Presence = UNSET


class Preference(_Other, kw_only=True):
    """An example for preference optimization."""

    kind: ClassVar[str] = "preference"
    input: Conversation
    preferred_output: Outputs
    non_preferred_output: Outputs
    preferred_completion: Presence = UNSET
    non_preferred_completion: Presence = UNSET

    def others(self) -> tuple[Presence, ...]:
        """Members that would make it another kind of example."""
        return (self.messages, self.preferred_completion, self.non_preferred_completion)

    def outputs(self) -> tuple[Sequence[_Message], ...]:
        """Both outputs."""
        return (self.preferred_output, self.non_preferred_output)


class OlderPreference(_Other, kw_only=True):
    """A preference with the older names of its outputs."""

    kind: ClassVar[str] = "preference"
    input: Conversation
    preferred_completion: Outputs
    non_preferred_completion: Outputs

    def others(self) -> tuple[Presence, ...]:
        """Members that would make it another kind of example."""
        return (self.messages,)

    def outputs(self) -> tuple[Sequence[_Message], ...]:
        """Both outputs."""
        return (self.preferred_completion, self.non_preferred_completion)


class Completions(_Other, kw_only=True):
    """An example for models without chat."""

    kind: ClassVar[str] = "completions"
    prompt: str
    completion: str
    input: Presence = UNSET
    preferred_output: Presence = UNSET
    non_preferred_output: Presence = UNSET
    preferred_completion: Presence = UNSET
    non_preferred_completion: Presence = UNSET

    def others(self) -> tuple[Presence, ...]:
        """Members that would make it another kind of example."""
        return (
            *(self.messages, self.input, self.preferred_output, self.non_preferred_output),
            *(self.preferred_completion, self.non_preferred_completion),
        )


# --- any object, member by member -----------------------------------------------------------------------------------

_Members = defstruct("_Members", [(name, Presence, UNSET) for name in MEMBERS], gc=False)
_members = Decoder(_Members)
_items = Decoder(list[Raw])
_objects = Decoder(list[AnyObject])
_scalar = Decoder(str | bool | None)

_INDEX = re.compile(r"\$\[(\d+)\]")
_DIGITS = 18


class _LazyValue:
    """An object or list that is decoded when a check reads it."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def read(self) -> Mapping[str, Any] | Sequence[Any]:
        text = memoryview(self._raw)
        if text[0] == ord("{"):
            return members(self._raw)
        if len(text) > LARGE:
            self._require_objects()
        return [_value(item) for item in _items.decode(self._raw)]

    def __str__(self) -> str:
        text = memoryview(self._raw)
        if text[0] == ord("{"):
            return "an object"
        return "an empty list" if bytes(text[1:]).lstrip().startswith(b"]") else "a list"

    def _require_objects(self) -> None:
        """Decode a large list only if all of its items are objects, which are then few (`DENSE_VALUES`)."""
        try:
            _objects.decode(self._raw)
        except ValidationError as error:
            index = _INDEX.search(str(error))
            raise LineFault(f"[{index[1]}]" if index else "", "is no object; expected one") from None


def members(line: bytes | Raw) -> Mapping[str, Any]:
    """The members of an object that the checks read."""
    found = _members.decode(line)
    raws = ((name, getattr(found, name)) for name in MEMBERS)
    return {name: _value(raw) for name, raw in raws if raw is not UNSET}


def _value(raw: Raw) -> object:
    text = memoryview(raw)
    first = text[0]
    if first in b"{[":
        return _LazyValue(raw)
    if first in b"-0123456789":
        # No check needs the value of a long number.
        digits = bytes(text[:_DIGITS])
        return int(digits) if len(text) < _DIGITS and digits.lstrip(b"-").isdigit() else 0.5
    return _scalar.decode(raw)


DECODERS = Decoders(
    batch=(Decoder(Request).decode,),
    training=tuple(Decoder(shape).decode for shape in (PlainChat, Chat, Preference, OlderPreference, Completions)),
    evals=(Decoder(Item).decode,),
    members=members,
)
