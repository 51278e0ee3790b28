"""The least that an ASGI server does: the same bytes for each request. `python -m bench.bare_asgi` prints its port.

The server library and its options are those of `filestead serve`, with the library's own protocol class.
"""

import socket
from typing import Any

import uvicorn

BODY = b'{"id":"file-1234567890123456789012","object":"file","bytes":1024,"created_at":1,"filename":"a.txt"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer at once."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def main() -> None:
    """Serve until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, http="httptools", loop="uvloop", ws="none", lifespan="off", log_config=None, access_log=False
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
