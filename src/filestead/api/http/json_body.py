"""Request bodies in JSON: read with a limit, and members checked one by one with the hosted service's messages.

`JsonObject` hands out the members of an object by type; `finish` refuses those that nobody asked for. A member that is
null counts as absent. Messages and codes follow recorded responses of the hosted service.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from filestead.api.http.body import BodyReadLimits, read_body
from filestead.api.http.errors import ApiError, ErrorResponse, bad_request
from filestead.api.http.messages import Request

MAX_BODY_BYTES = 16 * 1024 * 1024
"""A file batch of 2,000 files with short attributes has about 1 MB."""

_TYPES: Final = {str: "a string", int: "an integer", float: "a decimal", bool: "a boolean", list: "an array"}
MISSING: Final = object()


async def read_json_object(request: Request, limits: BodyReadLimits) -> "JsonObject":
    """Read the body, which must be a JSON object; an empty body counts as an empty object.

    Raises `ApiError`: 413 for a body that is too large, 400 for one that is not a JSON object.
    """
    data = bytearray()
    async with aclosing(read_body(request.receive, limits)) as body:
        async for chunk in body:
            data += chunk
            if len(data) > MAX_BODY_BYTES:
                raise ApiError(ErrorResponse(413, f"The request body is larger than {MAX_BODY_BYTES} bytes."))
    if not data.strip():
        return JsonObject({})
    try:
        decoded = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(
            f"We could not parse the JSON body of your request ({error}). The API expects a JSON payload."
        ) from None
    if not isinstance(decoded, dict):
        raise bad_request(
            f"Invalid body: expected an object, but got {type_name(decoded)} instead.", None, INVALID_TYPE
        )
    return JsonObject(decoded)


INVALID_TYPE = "invalid_type"


def type_name(value: object) -> str:
    """The name of a JSON value's type in messages."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    return _TYPES[type(value)]


def wrong_type(path: str, expected: str, value: object) -> ApiError:
    """The error of a member whose value has another type than expected."""
    return bad_request(
        f"Invalid type for '{path}': expected {expected}, but got {type_name(value)} instead.", path, INVALID_TYPE
    )


def invalid_value(path: str, value: str, supported: Sequence[str]) -> ApiError:
    """The error of a text that is not one of the supported values."""
    listed = [f"'{each}'" for each in supported]
    if len(listed) > 1:
        listed[-1] = f"and {listed[-1]}"
    joined = ", ".join(listed) if len(listed) > 2 else " ".join(listed)
    return bad_request(f"Invalid value: '{value[:64]}'. Supported values are: {joined}.", path, "invalid_value")


class JsonObject:
    """Members of an object at a path of the body. Every method raises `ApiError` (400), which names the member."""

    def __init__(self, members: dict[str, Any], path: str = "") -> None:
        self._members = members
        self._path = path
        self._known: set[str] = set()

    def path(self, name: str) -> str:
        """The path of a member, as in `expires_after.days`."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Whether a member is present, null or not."""
        self._known.add(name)
        return name in self._members

    def finish(self) -> None:
        """Refuse members that were not asked for."""
        for name in self._members:
            if name not in self._known:
                shown = self.path(name[:64])
                raise bad_request(f"Unknown parameter: '{shown}'.", shown, "unknown_parameter")

    def value(self, name: str, *, required: bool = False) -> Any:
        """A member of any type; None if absent."""
        self._known.add(name)
        value = self._members.get(name)
        if value is None and required:
            path = self.path(name)
            raise bad_request(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
        return value

    def string(
        self, name: str, *, required: bool = False, max_length: int | None = None, choices: Sequence[str] = ()
    ) -> str | None:
        """A text of at most `max_length` characters, or one of the `choices`."""
        value = self.value(name, required=required)
        if value is None:
            return None
        path = self.path(name)
        if not isinstance(value, str):
            raise wrong_type(path, "a string", value)
        if choices and value not in choices:
            raise invalid_value(path, value, choices)
        require_length(path, value, max_length)
        return value

    def required_string(self, name: str) -> str:
        """A text that must be present."""
        return str(self.string(name, required=True))

    def integer(self, name: str, minimum: int, maximum: int, *, required: bool = False) -> int | None:
        """An integer within bounds; `5.0` is one, too."""
        value = self.value(name, required=required)
        if value is None:
            return None
        path = self.path(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(path, "an integer", value)
        require_bounds(path, value, minimum, maximum, "integer")
        return value

    def number(self, name: str, minimum: float, maximum: float) -> float | None:
        """A number within bounds."""
        value = self.value(name)
        if value is None:
            return None
        path = self.path(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(path, "a decimal", value)
        require_bounds(path, value, minimum, maximum, "decimal")
        return float(value)

    def boolean(self, name: str) -> bool | None:
        """True or false."""
        value = self.value(name)
        if value is not None and not isinstance(value, bool):
            raise wrong_type(self.path(name), "a boolean", value)
        return value

    def object(self, name: str, *, required: bool = False) -> "JsonObject | None":
        """A nested object."""
        value = self.value(name, required=required)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise wrong_type(self.path(name), "an object", value)
        return JsonObject(value, self.path(name))

    def array(self, name: str, minimum: int, maximum: int) -> "list[Any] | None":
        """An array of a length within bounds."""
        value = self.value(name)
        if value is None:
            return None
        path = self.path(name)
        if not isinstance(value, list):
            raise wrong_type(path, "an array", value)
        if len(value) > maximum:
            raise bad_request(
                f"Invalid '{path}': array too long. Expected an array with maximum length {maximum}, but got an array "
                f"with length {len(value)} instead.",
                path,
                "array_above_max_length",
            )
        if len(value) < minimum:
            raise bad_request(
                f"Invalid '{path}': empty array. Expected an array with minimum length {minimum}, but got an empty "
                "array instead.",
                path,
                "empty_array",
            )
        return value

    def strings(self, name: str, minimum: int, maximum: int) -> list[str] | None:
        """An array of texts."""
        values = self.array(name, minimum, maximum)
        for number, value in enumerate(values or ()):
            if not isinstance(value, str):
                raise wrong_type(f"{self.path(name)}[{number}]", "a string", value)
        return values

    def objects(self, name: str, minimum: int, maximum: int) -> "Iterator[JsonObject]":
        """An array of objects."""
        for number, value in enumerate(self.array(name, minimum, maximum) or ()):
            path = f"{self.path(name)}[{number}]"
            if not isinstance(value, dict):
                raise wrong_type(path, "an object", value)
            yield JsonObject(value, path)

    def pairs(self, name: str, *, only_strings: bool) -> dict[str, Any]:
        """A map of at most 16 pairs: keys to 64 characters, texts to 512, and numbers and booleans if allowed.

        An integer beyond 64 bits becomes the nearest float: a JSON number has no more precision elsewhere either.
        """
        value = self.value(name)
        if value is None:
            return {}
        path = self.path(name)
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        if len(value) > MAX_PAIRS:
            raise bad_request(
                f"Invalid '{path}': too many properties. Expected an object with at most {MAX_PAIRS} properties, but "
                f"got an object with {len(value)} properties instead.",
                path,
                "object_above_max_properties",
            )
        return {key: _pair_value(path, key, item, only_strings=only_strings) for key, item in value.items()}


MAX_PAIRS = 16
MAX_KEY_CHARACTERS = 64
MAX_VALUE_CHARACTERS = 512


def _pair_value(path: str, key: str, value: object, *, only_strings: bool) -> object:
    if len(key) > MAX_KEY_CHARACTERS:
        raise bad_request(
            f"Invalid '{path}': property name too long. Expected a name with maximum length {MAX_KEY_CHARACTERS}, but "
            f"got a name with length {len(key)} instead.",
            path,
            "property_name_above_max_length",
        )
    if "\0" in key:
        raise bad_request(f"Invalid '{path}': a property name has a NUL character.", path, "invalid_value")
    member = f"{path}.{key}"
    if isinstance(value, str):
        require_length(member, value, MAX_VALUE_CHARACTERS)
    elif only_strings or not isinstance(value, bool | int | float):
        raise wrong_type(member, "a string" if only_strings else "a string, number or boolean", value)
    elif isinstance(value, int) and abs(value) >= 2**63:
        try:
            return float(value)
        except OverflowError:
            raise bad_request(f"Invalid '{member}': the number is too large.", member, "invalid_value") from None
    return value


def require_length(path: str, value: str, maximum: int | None) -> None:
    """Refuse a text that is too long."""
    if maximum is not None and len(value) > maximum:
        raise bad_request(
            f"Invalid '{path}': string too long. Expected a string with maximum length {maximum}, but got a string "
            f"with length {len(value)} instead.",
            path,
            "string_above_max_length",
        )
    if "\0" in value:
        raise bad_request(f"Invalid '{path}': the text has a NUL character.", path, "invalid_value")


def require_bounds(path: str, value: float, minimum: float, maximum: float, kind: str) -> None:
    """Refuse a number out of bounds."""
    if value > maximum:
        raise bad_request(
            f"Invalid '{path}': {kind} above maximum value. Expected a value <= {maximum}, but got {value} instead.",
            path,
            f"{kind}_above_max_value",
        )
    if value < minimum or math.isnan(value):
        raise bad_request(
            f"Invalid '{path}': {kind} below minimum value. Expected a value >= {minimum}, but got {value} instead.",
            path,
            f"{kind}_below_min_value",
        )
