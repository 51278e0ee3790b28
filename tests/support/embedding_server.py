"""A small OpenAI-compatible server of embeddings, on a free loopback port, whose failures the test chooses."""

import hashlib
import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KEY = "sk-upstream-canary"


class EmbeddingServer:
    """Vectors are made of the words of a text, so that texts with the same words are near."""

    def __init__(self, dimensions: int = 8) -> None:
        self.dimensions = dimensions
        self.faults: deque[tuple[int, dict[str, str], bytes]] = deque()
        """Responses that come first: status, headers, body."""
        self.failing: int | None = None
        """The status of every response, if given."""
        self.refused_models: set[str] = set()
        self.refused = 0
        """Requests for one of these models, which are answered with 503."""
        self.batches: list[tuple[str, int]] = []
        """Model and number of texts of each request that was answered with embeddings."""
        self.keys: set[str | None] = set()
        self.traces: set[str | None] = set()
        """The headers `traceparent`."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.keys.add(self.headers["Authorization"])
                owner.traces.add(self.headers["traceparent"])
                status, headers, content = owner.response(self.path, body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def response(self, path: str, body: Any) -> tuple[int, dict[str, str], bytes]:
        if self.faults:
            return self.faults.popleft()
        if self.failing is not None or path != "/v1/embeddings":
            return self.failing or 404, {}, KEY.encode()
        if body["model"] in self.refused_models:
            self.refused += 1
            return 503, {"Retry-After": "0.2"}, b""
        self.batches.append((body["model"], len(body["input"])))
        rows = [{"index": n, "embedding": self.vector(text)} for n, text in enumerate(body["input"])]
        return 200, {}, json.dumps({"data": rows[::-1], "model": body["model"]}).encode()

    def vector(self, text: str) -> list[float]:
        found = [0.001] * self.dimensions
        for word in text.lower().split():
            found[hashlib.sha256(word.strip(".,?").encode()).digest()[0] % self.dimensions] += 1
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
