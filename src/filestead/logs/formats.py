"""The two formats of the log: text for people, one JSON object a line for programs.

Neither contains keys, paths, queries, headers or names that a user has chosen: of a request, only its route is logged.
"""

import logging
import time
from typing import Literal, Protocol

import msgspec

LogFormat = Literal["text", "json"]

TEXT = "%(asctime)s %(levelname)s %(message)s"


class Requester(Protocol):
    """Whose key it was."""

    @property
    def key_id(self) -> str:
        """The id of the key."""

    @property
    def project_id(self) -> str:
        """The id of its project."""


class LoggedRequest(Protocol):
    """What is logged of a request; seconds are measured from its complete head, sizes are bytes of bodies."""

    id: str
    started_at: float
    """By `time.perf_counter`."""
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

    @property
    def principal(self) -> Requester | None:
        """None without a valid key."""


class _LoggedRecord(msgspec.Struct, omit_defaults=True):
    """Any other line of the log."""

    time: str
    level: str
    message: str
    logger: str
    exception: str | None = None


class Timestamps:
    """Formats times in UTC (`2026-01-31T12:00:00.123Z`); the texts of the last second and millisecond are kept."""

    def __init__(self) -> None:
        self._second = self._millisecond = -1
        self._second_text = self._text = ""

    def format(self, seconds: float) -> str:
        """Format a Unix time."""
        millisecond = int(seconds * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._second = second
                self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._text = f"{self._second_text}.{rest:03d}Z"
        return self._text


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


class RequestFormatter:
    """Formats the lines of requests; their time is that of the end of the request."""

    def __init__(self, chosen: LogFormat) -> None:
        self._format = _json_line if chosen == "json" else _text_line
        self._timestamps = Timestamps()
        self._offset = self._offset_until = 0.0

    def __call__(self, request: LoggedRequest) -> bytes:
        """Return the line with its line break."""
        ended = request.started_at + request.total_seconds
        if ended > self._offset_until:  # the clock may have been set meanwhile
            self._offset_until = time.perf_counter()
            self._offset = time.time() - self._offset_until
        return self._format(self._timestamps.format(ended + self._offset), request)


def _json_line(time_text: str, request: LoggedRequest) -> bytes:
    """The line of a request as a JSON object, durations in microseconds. What is zero or unknown is left out.

    Written by hand, since an encoder takes twice as long. No value needs escaping: all are ours.
    """
    principal = request.principal
    who = f',"key_id":"{principal.key_id}","project":"{principal.project_id}"' if principal is not None else ""
    parts = f',"database_us":{int(request.database_seconds * 1e6)}' if request.database_seconds else ""
    if request.blob_seconds:
        parts += f',"blob_store_us":{int(request.blob_seconds * 1e6)}'
    if request.client_seconds:
        parts += f',"client_us":{int(request.client_seconds * 1e6)}'
    if request.reason is not None:
        parts += f',"reason":"{request.reason}"'
    if request.traceparent is not None:
        parts += f',"traceparent":"{request.traceparent}"'
    return (
        f'{{"time":"{time_text}","level":"info","message":"request","request_id":"{request.id}"{who},'
        f'"method":"{request.method}","route":"{request.route}","status":{request.status},'
        f'"received":{request.received},"sent":{request.sent},"total_us":{int(request.total_seconds * 1e6)},'
        f'"head_us":{int(request.head_seconds * 1e6)}{parts}}}\n'
    ).encode()


def _text_line(time_text: str, request: LoggedRequest) -> bytes:
    """The line of a request for people, durations in milliseconds."""
    principal = request.principal
    who = f" {principal.project_id} {principal.key_id}" if principal is not None else ""
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
