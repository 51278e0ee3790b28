"""More idle connections than a process accepts: health checks and requests must still be served."""

import contextlib
import resource
import socket
import time
from pathlib import Path

import httpx2
import pytest

from tests.support.servers import KEY, Server


@pytest.mark.parametrize(
    ("limit", "idle"), [(200, 300), pytest.param(2048, 3000, marks=pytest.mark.torture)], ids=["300", "3000"]
)
@pytest.mark.parametrize("sent", [b"", b"GET /v1/files HTTP/1.1\r\n"], ids=["silent", "half a head"])
def test_idle_connections_do_not_block_requests_or_health_checks(
    tmp_path: Path, limit: int, idle: int, sent: bytes
) -> None:
    """3,000 idle connections once made GET /health return 503."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, idle + 512)), hard))
    with Server(tmp_path / "data", max_connections=limit) as server, contextlib.ExitStack() as stack:
        kept = stack.enter_context(httpx2.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=30))
        body = [b"--x\r\n", b'Content-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--x\r\n']
        body += [b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n', b"slow", b"\r\n--x--\r\n"]

        def trickle():  # type: ignore[no-untyped-def]
            yield from body[:3]
            for _ in range(idle):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
                connection.sendall(sent)
            for _ in range(5):
                assert httpx2.get(server.origin + "/health", timeout=30).status_code == 200
                time.sleep(0.2)
            assert server.client.get("/files").status_code == 200
            yield from body[3:]

        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = kept.post(server.base_url + "/files", content=trickle(), headers=headers)
        assert (answer.status_code, answer.json()["bytes"]) == (200, 4), "a request in progress is not cut"
