"""A server that sends scripted responses and keeps the requests."""

import http.server
from typing import Any


class Stub(http.server.ThreadingHTTPServer):
    """A server that sends the given responses in turn, and keeps the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.responses: list[tuple[int, str]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.missing = 0
        """So many bytes are announced and not sent."""
        self.content_type = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Stub

    def _respond(self) -> None:
        body = self._read_body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((f"{self.command} {self.path}", headers, body))
        status, text = self.server.responses.pop(0)
        self.send_response(status)
        kind = self.server.content_type or ("application/json" if text.startswith("{") else "text/html")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode()) + self.server.missing))
        self.send_header("Retry-After-Ms", "1")
        if 300 <= status < 400:
            self.send_header("Location", text)
        self.end_headers()
        self.wfile.write(text.encode())

    def _read_body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_DELETE = _respond  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass
