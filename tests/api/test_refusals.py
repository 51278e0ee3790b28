"""Refusals before the body: told early, readable, and cheap."""

import socket
from pathlib import Path

import pytest

from tests.support.servers import KEY, Server

BOUNDARY_HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TAIL = b'\r\n--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n--x--\r\n'


def head(length: int | None, *, key: str = KEY, expect: bool = False) -> bytes:
    lines = [
        "POST /v1/files HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {key}",
        "Content-Type: multipart/form-data; boundary=x",
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
    ]
    if expect:
        lines.append("Expect: 100-continue")
    return "\r\n".join([*lines, "", ""]).encode()


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def read_answer(connection: socket.socket) -> bytes:
    """One answer with its body, and no more."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    top, _, body = received.partition(b"\r\n\r\n")
    length = int(top.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    assert len(body) == length
    return top + b"\r\n\r\n" + body


@pytest.mark.parametrize("expect", [False, True])
@pytest.mark.parametrize(
    ("key", "length", "status"), [("sk-wrong-wrong-wrong-wrong", 1000, b"401"), (KEY, 10**9, b"400")]
)
def test_the_answer_comes_before_the_body(server: Server, key: str, length: int, status: bytes, expect: bool) -> None:
    with connect(server) as connection:
        connection.sendall(head(length, key=key, expect=expect))
        received = read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 " + status)
    assert received.count(b"HTTP/1.1") == 1, "no 100 Continue for a body that is not wanted"
    assert b"connection: close" in received


def test_100_continue_is_sent_once_the_body_is_wanted(server: Server) -> None:
    body = BOUNDARY_HEAD + b"data" + TAIL
    with connect(server) as connection:
        connection.sendall(head(len(body), expect=True))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_the_answer_is_readable_while_the_client_still_sends(server: Server) -> None:
    body = b"y" * 3_000_000
    with connect(server) as connection:
        connection.sendall(head(len(body)) + b"--x\r\nbroken\r\n\r\n" + body[20:])
        assert read_to_end(connection).startswith(b"HTTP/1.1 400 Bad Request")


def test_the_rate_is_judged_before_the_body(tmp_path: Path) -> None:
    with Server(tmp_path / "data", uploads_per_minute=1) as server:
        server.upload()
        with connect(server) as connection:
            connection.sendall(head(10_000_000, expect=True))
            received = read_to_end(connection)
        assert received.startswith(b"HTTP/1.1 429 Too Many Requests")
        assert b"retry-after: " in received


def test_the_connection_lives_on_after_a_refusal_whose_body_was_read(server: Server) -> None:
    body = BOUNDARY_HEAD + b"data" + TAIL.replace(b"vision", b"nothing")
    with connect(server) as connection:
        connection.sendall(head(len(body)) + body)
        first = read_answer(connection)
        assert first.startswith(b"HTTP/1.1 400")
        assert b"connection: close" not in first
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 200")


def test_a_chunked_body_that_breaks_off_is_no_file(server: Server) -> None:
    before = server.client.get("/files").json()["data"]
    with connect(server) as connection:
        connection.sendall(head(None) + b"%x\r\n" % len(BOUNDARY_HEAD) + BOUNDARY_HEAD + b"\r\n4\r\ndata\r\n0\r\n\r\n")
        received = read_answer(connection)
        assert received.startswith(b"HTTP/1.1 400")
        assert b"Could not parse multipart form" in received
    assert server.client.get("/files").json()["data"] == before
