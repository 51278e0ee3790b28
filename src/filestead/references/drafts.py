"""Where a request names files, and the same request with other content there. Nothing else of it changes.

Only what leads to such a place is decoded; everything beside it is copied as it came.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import Raw

PLACES = ("messages", "input")
"""Members with the messages: of chat completions, and of responses."""
CONTENTS = ("content", "output")
"""Members of a message with its parts; `output` is that of a function."""
ID_PREFIX = "file-"

Api = Literal["chat", "responses"]
Object = dict[str, Any]
"""Members, as JSON text (`Raw`) or decoded."""

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.encode


def mentions_files(text: bytes) -> bool:
    """Whether a request can name a file; most requests do not, and are not decoded."""
    return b"file_id" in text or b'"file-' in text


@dataclass(slots=True)
class Part:
    """A part of a message that names a file."""

    api: Api
    file_id: str
    member: str
    """The path of the id, as in `messages[0].content[1].file.file_id`."""
    is_image: bool
    """Whether the request says that the file is an image."""
    _members: Object
    _replace: Callable[[Object], None]

    def set_image(self, url: str) -> None:
        """Put an image there, as a data URL."""
        if self.api == "responses":
            others = _without(self._members, "file_id", "filename", "image_url", "type")
            self._replace({"type": "input_image", "image_url": url, **others})
            return
        image = self._members.get("image_url")
        details = _without(_object(image) or {}, "url", "file_id")
        others = _without(self._members, "file", "image_url", "type")
        self._replace({"type": "image_url", "image_url": {"url": url, **details}, **others})

    def set_text(self, text: str) -> None:
        """Put a text there."""
        self._replace({"type": "input_text" if self.api == "responses" else "text", "text": text})

    def set_data(self, filename: str, url: str) -> None:
        """Put a document there, as a data URL."""
        if self.api == "responses":
            others = _without(self._members, "file_id", "filename", "file_data", "type")
            self._replace({"type": "input_file", "filename": filename, "file_data": url, **others})
            return
        others = _without(self._members, "file", "type")
        self._replace({"type": "file", "file": {"filename": filename, "file_data": url}, **others})


class Draft:
    """A request, whose parts can be replaced."""

    def __init__(self, body: bytes) -> None:
        """Raises `msgspec.DecodeError` for a body that is no JSON object."""
        self._top: Object = dict(_decode_object(body))
        self.parts: list[Part] = []
        for place in PLACES:
            self._look_at_messages(place)

    def encode(self) -> bytes:
        """The request as it is now."""
        return _encode(self._top)

    def _look_at_messages(self, place: str) -> None:
        messages = _list(self._top.get(place))
        if messages is None:
            return
        self._top[place] = messages
        for number, text in enumerate(messages):
            message = _object(text)
            if message is None:
                continue
            messages[number] = message
            for name in CONTENTS:
                parts = _list(message.get(name))
                if parts is not None:
                    message[name] = parts
                    self.parts += _parts_of(
                        parts, "chat" if place == "messages" else "responses", f"{place}[{number}].{name}"
                    )


def _parts_of(parts: list[Any], api: Api, path: str) -> Iterator[Part]:
    for number, text in enumerate(parts):
        members = _object(text)
        if members is None:
            continue
        found = _find_chat(members) if api == "chat" else _find_responses(members)
        if found is not None:
            name, file_id, is_image = found
            yield Part(api, file_id, f"{path}[{number}].{name}", is_image, members, _setter(parts, number))


def _setter(parts: list[Any], number: int) -> Callable[[Object], None]:
    def replace(members: Object) -> None:
        parts[number] = members

    return replace


def _find_chat(members: Object) -> tuple[str, str, bool] | None:
    kind = _text(members.get("type"))
    if kind == "file":
        file_id = _text((_object(members.get("file")) or {}).get("file_id"))
        return None if file_id is None else ("file.file_id", file_id, False)
    if kind == "image_url":
        image = members.get("image_url")
        inside = _object(image) or {}
        if (file_id := _text(inside.get("file_id"))) is not None:
            return "image_url.file_id", file_id, True
        for name, value in (("image_url", image), ("image_url.url", inside.get("url"))):
            if (file_id := _text(value)) is not None and file_id.startswith(ID_PREFIX):
                return name, file_id, True
    return None


def _find_responses(members: Object) -> tuple[str, str, bool] | None:
    kind = _text(members.get("type"))
    if kind not in {"input_file", "input_image"}:
        return None
    is_image = kind == "input_image"
    if (file_id := _text(members.get("file_id"))) is not None:
        return "file_id", file_id, is_image
    if is_image and (url := _text(members.get("image_url"))) is not None and url.startswith(ID_PREFIX):
        return "image_url", url, True
    return None


def _without(members: Object, *names: str) -> Object:
    return {name: value for name, value in members.items() if name not in names}


def _list(text: Raw | None) -> list[Any] | None:
    """The items of a list in which a file may be named."""
    if text is None or not mentions_files(bytes(text)):
        return None
    try:
        return list(_decode_list(text))
    except msgspec.DecodeError:
        return None


def _object(text: Raw | None) -> Object | None:
    """The members of an object in which a file may be named."""
    if text is None or not mentions_files(bytes(text)):
        return None
    try:
        return dict(_decode_object(text))
    except msgspec.DecodeError:
        return None


def _text(text: Raw | None) -> str | None:
    if text is None:
        return None
    try:
        return _decode_text(text)
    except msgspec.DecodeError:
        return None
