"""The two formats of the log: text for people, one JSON object a line for programs.

Neither contains keys, paths, queries, headers or names that a user has chosen: of a request, only its route is logged.
"""

import logging
import time
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

LogFormat = Literal["text", "json"]

TEXT = "%(asctime)s %(levelname)s %(message)s"


class LoggedRequest(Protocol):
    """What is logged of a request; seconds are measured from its complete head, sizes are bytes of bodies."""

    id: str
    method: str
    route: str
    status: int
    received: int
    sent: int
    total_seconds: float
    head_seconds: float
    """Until the head of the response."""
    database_seconds: float
    blob_seconds: float
    client_seconds: float
    """Waiting for the client to send the body."""
    reason: str | None
    """The error code, or the name of the error."""
    traceparent: str | None


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


def json_line(time_text: str, request: LoggedRequest, key_id: str | None, project_id: str | None) -> bytes:
    """The line of a request as a JSON object, durations in milliseconds. What is zero or unknown is left out.

    Written by hand, since an encoder takes twice as long. No value needs escaping: all are ours.
    """
    who = f',"key_id":"{key_id}","project":"{project_id}"' if key_id is not None else ""
    parts = f',"database_ms":{request.database_seconds * 1e3:.3f}' if request.database_seconds else ""
    if request.blob_seconds:
        parts += f',"blob_store_ms":{request.blob_seconds * 1e3:.3f}'
    if request.client_seconds:
        parts += f',"client_ms":{request.client_seconds * 1e3:.3f}'
    if request.reason is not None:
        parts += f',"reason":"{request.reason}"'
    if request.traceparent is not None:
        parts += f',"traceparent":"{request.traceparent}"'
    return (
        f'{{"time":"{time_text}","level":"info","message":"request","request_id":"{request.id}"{who},'
        f'"method":"{request.method}","route":"{request.route}","status":{request.status},'
        f'"received":{request.received},"sent":{request.sent},"total_ms":{request.total_seconds * 1e3:.3f},'
        f'"head_ms":{request.head_seconds * 1e3:.3f}{parts}}}\n'
    ).encode()


def text_line(time_text: str, request: LoggedRequest, key_id: str | None, project_id: str | None) -> bytes:
    """The line of a request for people, durations in milliseconds."""
    who = f" {project_id} {key_id}" if key_id is not None else ""
    parts = ", ".join(
        f"{name} {seconds * 1e3:.1f}"
        for name, seconds in (
            ("head", request.head_seconds),
            ("database", request.database_seconds),
            ("blobs", request.blob_seconds),
            ("client", request.client_seconds),
        )
        if seconds
    )
    more = "".join(f" {text}" for text in (request.reason, request.traceparent) if text)
    return (
        f"{time_text} INFO {request.id} {request.method} {request.route} {request.status}{more} "
        f"{request.received} bytes in, {request.sent} out, {request.total_seconds * 1e3:.1f} ms ({parts}){who}\n"
    ).encode()


REQUEST_FORMATS: dict[LogFormat, Callable[[str, LoggedRequest, str | None, str | None], bytes]] = {
    "json": json_line,
    "text": text_line,
}
