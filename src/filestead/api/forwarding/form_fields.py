"""The names of the fields of an upload, and the value of `model`, found while the bytes pass through.

The parser of our own uploads is stricter; here the model server decides what is valid, and we must not be misled by a
file that looks like a field.
"""

import re

from filestead.api.http.errors import bad_request

MAX_HEAD_BYTES = 8 * 1024
MAX_MODEL_BYTES = 1024
MAX_FIELDS = 1_000
BLANKS = b" \t"

_NAME = re.compile(rb"""\bname=(?:"([^"\r\n]{0,200})"|([^\s;"]{1,200}))""", re.IGNORECASE)


class FormFields:
    """What has been found so far."""

    def __init__(self, boundary: bytes) -> None:
        self.model: str | None = None
        self.names: set[str] = set()
        self._delimiter = b"\r\n--" + boundary
        self._input = b"\r\n"
        """What has not been looked at completely."""
        self._in_head = False
        self._value: bytearray | None = None
        """Of the field `model`, while it is read."""
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises `ApiError` (400) if they are no form."""
        if self._ended:
            return
        self._input += data
        while self._take_head() if self._in_head else self._take_content():
            pass

    def _take_content(self) -> bool:
        """Skip to the next delimiter; False if more must come."""
        end = self._input.find(self._delimiter)
        after = end + len(self._delimiter)
        if end < 0 or len(self._input) < after + 2:
            keep = len(self._delimiter) - 1 if end < 0 else len(self._input) - end
            self._collect(self._input[:-keep])
            self._input = self._input[-keep:]
            return False
        if self._input[after : after + 2] not in {b"\r\n", b"--"} and self._input[after] not in BLANKS:
            self._collect(self._input[:after])  # it only begins like a delimiter
            self._input = self._input[after:]
            return True
        self._collect(self._input[:end])
        self._finish_value()
        self._input = self._input[after:]
        self._in_head = True
        return True

    def _collect(self, content: bytes) -> None:
        if self._value is not None:
            self._value += content
            if len(self._value) > MAX_MODEL_BYTES:
                raise bad_request(f"The field 'model' is longer than {MAX_MODEL_BYTES} bytes.", "model")

    def _finish_value(self) -> None:
        if self._value is not None:
            value = self._value.decode(errors="replace")
            if self.model is not None and self.model != value:
                raise bad_request("The field 'model' was given more than once.", "model")
            self.model, self._value = value, None

    def _take_head(self) -> bool:
        if self._input.startswith(b"--"):
            self._ended = True
            return False
        end = self._input.find(b"\r\n\r\n")
        if end < 0:
            if len(self._input) > MAX_HEAD_BYTES:
                raise bad_request("Invalid form: the head of a field is too long.")
            return False
        head, self._input = self._input[:end], self._input[end + 2 :]  # an empty value begins with the line end
        if (found := _NAME.search(head)) is not None:
            self._begin_field((found[1] or found[2] or b"").decode(errors="replace"))
        self._in_head = False
        return self._skip_line_end()

    def _begin_field(self, name: str) -> None:
        self.names.add(name)
        if len(self.names) > MAX_FIELDS:
            raise bad_request("Invalid form: it has too many fields.")
        if name == "model":
            self._value = bytearray()

    def _skip_line_end(self) -> bool:
        """Leave the line end to an empty value, whose delimiter begins with it."""
        if not self._input.startswith(self._delimiter):
            self._input = self._input[2:]
        return True
