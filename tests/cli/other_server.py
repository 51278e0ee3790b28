"""A server that is not Filestead: files and batches by the official routes alone, with batches that follow a script."""

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

BATCH_ID = "batch_" + "0" * 32


@dataclass
class OtherServer:
    """Each retrieval of the batch shows the next of `states`; the last one stays."""

    states: list[dict[str, Any]]
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    """Of the responses that are a batch."""
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Method, path and body."""
    after_cancel: list[dict[str, Any]] = field(default_factory=list)
    """The states after a cancel."""
    port: int = 0

    def __enter__(self) -> Self:
        other = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                other.handle(self)

            def do_POST(self) -> None:
                other.handle(self)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def base_url(self) -> str:
        """For OPENAI_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def handle(self, call: BaseHTTPRequestHandler) -> None:
        """Respond to a request."""
        body = call.rfile.read(int(call.headers.get("Content-Length", 0)))
        self.requests.append((call.command, call.path, body))
        status, kind, data = self.respond(call.command, call.path)
        call.send_response(status)
        call.send_header("Content-Type", kind)
        call.send_header("Content-Length", str(len(data)))
        for name, value in self.headers.items():
            call.send_header(name, value)
        call.end_headers()
        call.wfile.write(data)

    def respond(self, method: str, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if (method, path) == ("POST", "/v1/files"):
            return 200, "application/json", b'{"id": "file-in", "object": "file"}'
        if (method, path) == ("POST", "/v1/batches"):
            return self._batch({"status": "validating"})
        if (method, path) == ("POST", f"/v1/batches/{BATCH_ID}/cancel"):
            self.states = list(self.after_cancel)
            return self._batch({"status": "cancelling"})
        if (method, path) == ("GET", f"/v1/batches/{BATCH_ID}"):
            return self._batch(self.states.pop(0) if len(self.states) > 1 else self.states[0])
        found = re.fullmatch(r"/v1/files/([^/]+)/content", path)
        if found and found[1] in self.files:
            return 200, "application/octet-stream", self.files[found[1]]
        return 404, "application/json", b'{"error": {"message": "no such route", "code": null}}'

    def _batch(self, members: dict[str, Any]) -> tuple[int, str, bytes]:
        batch = {"id": BATCH_ID, "object": "batch", "errors": None, "output_file_id": None, "error_file_id": None}
        counts = {"total": 0, "completed": 0, "failed": 0}
        return 200, "application/json", json.dumps({**batch, "request_counts": counts, **members}).encode()


def state(status: str, total: int = 0, completed: int = 0, failed: int = 0, **members: Any) -> dict[str, Any]:
    """A batch of a script."""
    return {"status": status, "request_counts": {"total": total, "completed": completed, "failed": failed}, **members}
