"""The two formats of the log: text for people, one JSON object a line for programs.

Neither contains keys, paths, queries, headers or names that a user has chosen: of a request, only its route is logged.
"""

import logging
import time
from collections.abc import Callable
from typing import Literal

import msgspec

LogFormat = Literal["text", "json"]

TEXT = "%(asctime)s %(levelname)s %(message)s"


class RequestLine(msgspec.Struct, omit_defaults=True):
    """What is logged of one request; its names are those of the JSON object. Times in milliseconds, sizes in bytes."""

    time: str
    level: str
    message: str
    request_id: str
    method: str
    route: str
    status: int
    received: int
    sent: int
    total_ms: float
    head_ms: float
    """Until the head of the response."""
    database_ms: float
    key_id: str | None = None
    project: str | None = None
    blob_store_ms: float = 0.0
    client_ms: float = 0.0
    """Waiting for the client to send the body."""
    reason: str | None = None
    """The error code, or the name of the error."""
    traceparent: str | None = None


class _LoggedRecord(msgspec.Struct, omit_defaults=True):
    """Any other line of the log."""

    time: str
    level: str
    message: str
    logger: str
    exception: str | None = None


class Timestamps:
    """Formats times in UTC (`2026-01-31T12:00:00.123Z`); the text of a second is kept."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def format(self, seconds: float) -> str:
        """Format a Unix time."""
        second = int(seconds)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{int((seconds - second) * 1000):03d}Z"


class JsonFormatter(logging.Formatter):
    """Formats records of `logging` as JSON objects."""

    def __init__(self) -> None:
        super().__init__()
        self._timestamps = Timestamps()

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; a traceback is the member `exception`."""
        exception = self.formatException(record.exc_info) if record.exc_info else None
        line = _LoggedRecord(
            self._timestamps.format(record.created),
            record.levelname.lower(),
            record.getMessage().encode("utf-8", "replace").decode(),
            record.name,
            exception and exception.encode("utf-8", "replace").decode(),
        )
        return msgspec.json.encode(line).decode()


def request_formatter(chosen: LogFormat) -> Callable[[RequestLine], bytes]:
    """Return what formats the line of a request, with its line break."""
    return _as_text if chosen == "text" else _as_json


_encoder = msgspec.json.Encoder()


def _as_json(line: RequestLine) -> bytes:
    return _encoder.encode(line) + b"\n"


def _as_text(line: RequestLine) -> bytes:
    who = f"{line.project} {line.key_id}" if line.project else "-"
    parts = f"database {line.database_ms:.1f}"
    for name, value in (("blobs", line.blob_store_ms), ("client", line.client_ms)):
        if value:
            parts += f", {name} {value:.1f}"
    more = "".join(f" {text}" for text in (line.reason, line.traceparent) if text)
    return (
        f"{line.time} INFO {line.request_id} {line.method} {line.route} {line.status}{more} "
        f"{line.received}>{line.sent} bytes {line.total_ms:.1f} ms ({parts}) {who}\n"
    ).encode()
