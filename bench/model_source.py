"""A model server that does nothing but send: `python -m bench.model_source`. It prints its port.

It responds to a POST with a fixed chat completion, or, if the request has `"stream": true`, with `"events"` events, at
`"rate"` events a second. Each event holds the time at which it is sent, of the system's monotonic clock.
"""

import asyncio
import itertools
import json
import random
import re
import time
from typing import Any

COMPLETION = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 200}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60},
    }
).encode()
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(COMPLETION),
    COMPLETION,
)
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


class Source(asyncio.Protocol):
    """One connection."""

    transport: Any
    input = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.input += data
        end = self.input.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _LENGTH.search(self.input, 0, end)
        size = int(found[1]) if found else 0
        if len(self.input) < end + 4 + size:
            return
        body, self.input = self.input[end + 4 : end + 4 + size], b""
        if b'"stream"' not in body:
            self.transport.write(RESPONSE)
            return
        asked = json.loads(body)
        self.transport.write(EVENTS)
        loop = asyncio.get_running_loop()
        start = loop.time() + random.random() / asked["rate"]
        loop.call_at(start, self._send, start, 1 / asked["rate"], asked["events"])

    def _send(self, at: float, step: float, left: int) -> None:
        if self.transport.is_closing():
            return
        if not left:
            self.transport.write(END)
            return
        data = b'data: {"choices":[{"index":0,"delta":{"content":" word"}}],"t":%.6f}\n\n' % time.monotonic()
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        asyncio.get_running_loop().call_at(at + step, self._send, at + step, step, left - 1)


async def main() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Source, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    for _ in itertools.count():
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main())
