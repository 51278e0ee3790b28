"""Weaknesses of other servers in what they do with files, under their numbers: tenants, names and paths, leaks."""

import itertools
import re
import socket
import struct
import time
from pathlib import Path

import httpx2
import pytest

from tests.attack.test_advisories import BEARER, MIB, open_files, without_key
from tests.e2e.answers import FORM, Answer, ask, exchange, form, head
from tests.support.servers import Server

HOSTILE_NAMES = [
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\x",
        "\\\\server\\share\\x",
        "C:\\x",
        "C:x",
        "NUL",
        "con.txt",
        "a/../b",
    ),
    *(".ssh/authorized_keys", "~/x", "$HOME/x", "%2e%2e/x", "..%2fx", "a\x00.txt", "a\r\nX-Injected: 1", "a\x1b[2Jb"),
    *("a\u2028b", "\u202etxt.exe", "a" * 255, "é" * 127, "name.", "name ", " name", "a;b=c", 'a"b', "a%22b", "a\\b"),
    *(
        "😀.txt",
        "x.html",
        "x.svg",
        "setup.bat",
        "file:///etc/passwd",
        "http://127.0.0.1/x",
        "|id",
        "`id`",
        "-rf",
        "a\tb",
    ),
    *(
        "..",
        ".",
        "...",
        "....//x",
        "a/..",
        "filestead.db",
        "../filestead.db",
        "blobs/00/x",
        "../staging/x",
        "lost+found",
    ),
]


def upload_named(server: Server, name: str) -> httpx2.Response:
    """An upload whose file has any name, which no client library would send as it is."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    body = form(b"content", escaped, purpose="user_data")
    headers = {"content-type": FORM.partition(": ")[2]}
    return server.client.post("/files", content=body, headers=headers)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "filestead.db" not in path.name}


# --- tenants --------------------------------------------------------------------------------------------------------


def test_cve_2026_25921_the_bytes_of_an_id_never_change(server: Server) -> None:
    file = server.upload(b"first", name="same.txt")
    for method in ("PUT", "PATCH", "POST"):
        for path in (f"/v1/files/{file['id']}", f"/v1/files/{file['id']}/content"):
            assert ask(server, method, path, FORM, body=form(b"other", purpose="user_data")).status == 405
    other = server.upload(b"other", name="same.txt")
    assert other["id"] != file["id"]
    assert server.client.get(f"/files/{file['id']}/content").content == b"first"


def test_openai_2023_03_20_no_response_goes_to_another_tenant(server: Server, tmp_path: Path) -> None:
    """Requests that are broken off at any moment, between requests whose responses carry the mark of their tenant."""
    ids = {f"tenant-{number}": server.upload(f"tenant-{number}".encode() * 5_000)["id"] for number in range(20)}
    for number, (tenant, file_id) in enumerate(itertools.chain.from_iterable(itertools.repeat(list(ids.items()), 15))):
        request = head("GET", f"/v1/files/{file_id}/content", BEARER)
        if number % 3:
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(request)
                if number % 3 == 2:
                    connection.recv(100 * (number % 50 + 1))
            continue
        response = exchange(server, request)
        assert (response.status, response.body) == (200, tenant.encode() * 5_000)


# --- names and paths ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uploaded(server: Server) -> dict[str, Answer]:
    """The download of each upload with a hostile name that is taken, by the name."""
    before = tree(server.data_dir)
    found = {}
    for name in HOSTILE_NAMES:
        response = upload_named(server, name)
        assert response.status_code in (200, 400), (name, response.text)
        if response.status_code == 200:
            found[name] = ask(server, "GET", f"/v1/files/{response.json()['id']}/content")
    assert len(found) > 35
    assert {path for path in tree(server.data_dir) - before if not re.fullmatch(r"blobs(/[0-9a-z/]+)?", path)} == set()
    return found


def test_cve_2024_6707_and_cve_2026_7302_a_name_is_no_path(server: Server, uploaded: dict[str, Answer]) -> None:
    assert all(answer.body == b"content" for answer in uploaded.values())
    for name in HOSTILE_NAMES:
        quoted = "".join(f"%{byte:02x}" for byte in name.encode())
        for method, tail in itertools.product(("GET", "DELETE"), ("", "/content")):
            response = ask(server, method, f"/v1/files/{quoted}{tail}")
            assert response.status in (404, 405), name  # CVE-2024-5182: deleting by a path
    assert server.client.get("/files").status_code == 200


@pytest.mark.promise("S-11")
def test_cve_2022_36359_and_cve_2020_7695_a_name_is_one_header_and_nothing_opens(uploaded: dict[str, Answer]) -> None:
    for name, answer in uploaded.items():
        disposition = answer.headers["content-disposition"]
        assert re.fullmatch(
            r"""attachment; filename="[ !#-\[\]-~]*"(; filename\*=UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]+)?""", disposition
        ), name
        assert "/" not in disposition.partition("filename*")[0]
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "x-injected" not in answer.headers


def test_cve_2023_29159_no_file_of_the_server_is_served(server: Server) -> None:
    for start in ("/", "/console/", "/v1/", "/v1/files/", "/health/"):
        for rest in (
            "../../etc/passwd",
            "%2e%2e/%2e%2e/etc/passwd",
            "..%5c..%5cx",
            "/etc/passwd",
            "filestead.db",
            "%00",
        ):
            response = exchange(server, without_key("GET", start + rest))
            assert response.status in (400, 401, 404), start + rest
            assert b"root:" not in response.body


# --- leaks ----------------------------------------------------------------------------------------------------------


def test_cve_2016_0738_downloads_that_are_broken_off_leave_nothing_open(server: Server) -> None:
    file_id = server.upload(bytes(4 * MIB))["id"]
    request = head("GET", f"/v1/files/{file_id}/content", BEARER)
    before = open_files(server)
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(request)
            connection.recv(1000)
    deadline = time.monotonic() + 30
    while open_files(server) > before + 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_cve_2013_4155_deleting_what_is_not_there_adds_no_row(server: Server) -> None:
    tables = ("files", "file_tombstones", "blobs", "vector_stores", "uploads", "batches", "jobs")

    def rows() -> list[int]:
        return [server.place.sql(f"SELECT count(*) FROM {table}")[0][0] for table in tables]

    before = rows()
    for number in range(300):
        path = f"/files/file-{number:022d}" if number % 2 else f"/vector_stores/vs_{number:032d}"
        assert server.client.delete(path).status_code == 404
    assert rows() == before
