"""What a test makes the server do instead of a response, and the record of a request."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Kind = Literal["status", "hang", "reset", "raw", "slow", "held"]


@dataclass(frozen=True)
class Fault:
    kind: Kind
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error":{"message":"scripted","type":"server_error","param":null,"code":null}}'
    """Of a response; for `raw` the bytes of everything, after which the connection is closed."""
    seconds: float = 0.0
    """Before a `slow` response, which then is a good one."""
    released: threading.Event | None = None
    """Of a `held` response, which is a good one as soon as this is set."""

    @classmethod
    def of_status(cls, status: int, message: str = "scripted", **headers: str) -> Self:
        error = {"error": {"message": message, "type": "error", "param": None, "code": None}}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls("status", status, named, json.dumps(error).encode())

    @classmethod
    def busy(cls, retry_after: float | None = None, status: int = 429) -> Self:
        return cls.of_status(status, **({} if retry_after is None else {"retry_after": f"{retry_after:g}"}))

    @classmethod
    def hang(cls) -> Self:
        return cls("hang")

    @classmethod
    def reset(cls) -> Self:
        return cls("reset")

    @classmethod
    def broken_json(cls) -> Self:
        return cls("status", 200, {}, b'{"id": "chatcmpl-')

    @classmethod
    def raw(cls, data: bytes) -> Self:
        return cls("raw", body=data)

    @classmethod
    def slow(cls, seconds: float) -> Self:
        return cls("slow", seconds=seconds)

    @classmethod
    def held(cls, released: threading.Event) -> Self:
        return cls("held", released=released)


@dataclass(frozen=True)
class Received:
    """A request: names of headers in lower case, and when it came (of the clock of the event loop)."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    time: float
    connection: int
    """Number of the connection, from 0."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)
