"""The real curl, as people use it in a shell, and the two snippets that a new server prints, run as pasted."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.programs import find_program
from tests.support.servers import Server

MIB = 2**20


@dataclass(frozen=True)
class Reply:
    """What curl wrote: the last answer's head and body, and how many bytes of a request's body it sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: int
    trace: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Curl:
    """curl with the server's key, in a folder of its own."""

    server: Server
    folder: Path

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run curl without the user's .curlrc; the result may be a failure."""
        # By itself it waits for `100 Continue` for a second only, and then sends: a busy machine may take longer.
        command = [find_program("curl"), "-q", "-sS", "--expect100-timeout", "30", *arguments]
        return subprocess.run(command, cwd=self.folder, input=stdin, capture_output=True, timeout=60, check=False)

    def __call__(self, path: str, *arguments: str, stdin: bytes = b"", key: bool = True) -> Reply:
        """Ask for a path below /v1 and read the answer; curl must be content with it."""
        if key:
            arguments = ("-H", f"Authorization: Bearer {self.server.key}", *arguments)
        report = ("-v", "-D", "head", "-o", "body", "-w", "%{http_code} %{size_upload}")
        done = self.run(*report, *arguments, self.server.base_url + path, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        status, sent = done.stdout.split()
        head = (self.folder / "head").read_bytes().decode().strip().split("\r\n\r\n")[-1]
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
        body = self.folder / "body"
        content = body.read_bytes() if body.exists() else b""
        body.unlink(missing_ok=True)
        return Reply(int(status), headers, content, int(sent), done.stderr.decode(errors="replace"))

    def save(self, file_id: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Download the content of a file with the given options."""
        key = f"Authorization: Bearer {self.server.key}"
        return self.run("-H", key, *arguments, f"{self.server.base_url}/files/{file_id}/content")


@pytest.fixture
def curl(server: Server, tmp_path: Path) -> Curl:
    return Curl(server, tmp_path)


def noise(name: str, size: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size)


# --- upload ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose_first", [True, False])
def test_fields_in_both_orders(curl: Curl, purpose_first: bool) -> None:
    (curl.folder / "a.txt").write_bytes(b"from curl")
    fields = [("-F", "purpose=user_data"), ("-F", "file=@a.txt")]
    fields = fields if purpose_first else fields[::-1]
    made = curl(
        "/files", *fields[0], *fields[1], "-F", "expires_after[anchor]=created_at", "-F", "expires_after[seconds]=3600"
    )
    assert made.status == 200
    assert (made.json["filename"], made.json["bytes"], made.json["purpose"]) == ("a.txt", 9, "user_data")
    assert made.json["expires_at"] == made.json["created_at"] + 3600
    assert curl(f"/files/{made.json['id']}/content").body == b"from curl"


def test_file_names_as_curl_writes_them(curl: Curl) -> None:
    for name in ("naïve – データ.txt", 'a "quoted" name.txt'):
        (curl.folder / name).write_bytes(b"named")
        quoted = '"' + name.replace('"', '\\"') + '"'
        assert curl("/files", "-F", "purpose=user_data", "-F", f"file=@{quoted}").json["filename"] == name


def test_large_upload_waits_for_100_continue(curl: Curl) -> None:
    content = noise("large", 8 * MIB)
    (curl.folder / "large.bin").write_bytes(content)
    made = curl("/files", "-F", "purpose=user_data", "-F", "file=@large.bin")
    assert "> Expect: 100-continue" in made.trace
    assert "< HTTP/1.1 100 Continue" in made.trace
    assert made.json["bytes"] == 8 * MIB
    assert curl(f"/files/{made.json['id']}/content").body == content


def test_chunked_upload(curl: Curl) -> None:
    content = noise("chunked", 3 * MIB)
    (curl.folder / "chunked.bin").write_bytes(content)
    made = curl("/files", "-H", "Transfer-Encoding: chunked", "-F", "file=@chunked.bin", "-F", "purpose=user_data")
    assert "content-length" not in made.trace.lower().partition("< http/1.1 200")[0]
    assert made.json["bytes"] == 3 * MIB
    assert curl(f"/files/{made.json['id']}/content").body == content


def test_upload_of_standard_input(curl: Curl) -> None:
    made = curl("/files", "-F", "purpose=user_data", "-F", "file=@-;filename=piped.txt", stdin=b"piped in")
    assert (made.json["filename"], made.json["bytes"]) == ("piped.txt", 8)


# --- a body that is declared too large is refused at once, and curl gets to read why --------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes files of up to 1,000 bytes."""
    with Server(tmp_path_factory.mktemp("small") / "data", max_file_bytes=1000) as running:
        yield running


def post_zeros(server: Server, folder: Path, size: int, *arguments: str, key: bool = True) -> Reply:
    (folder / "a.bin").write_bytes(bytes(size))
    return Curl(server, folder)("/files", *arguments, "-F", "purpose=user_data", "-F", "file=@a.bin", key=key)


def check_too_large(reply: Reply) -> None:
    assert reply.status == 400
    assert reply.json["error"]["message"] == "File is too large."
    assert reply.headers["x-request-id"].startswith("req_")


def test_refused_before_the_body_is_sent(small: Server, tmp_path: Path) -> None:
    reply = post_zeros(small, tmp_path, 32 * MIB)
    check_too_large(reply)
    assert "> Expect: 100-continue" in reply.trace
    assert "100 Continue" not in reply.trace
    assert reply.sent == 0


@pytest.mark.parametrize("size", [MIB, 64 * MIB])
def test_refused_while_the_body_is_sent(small: Server, tmp_path: Path, size: int) -> None:
    check_too_large(post_zeros(small, tmp_path, size, "-H", "Expect:"))


def test_refused_when_the_size_was_not_declared(small: Server, tmp_path: Path) -> None:
    check_too_large(post_zeros(small, tmp_path, MIB, "-H", "Transfer-Encoding: chunked", "-H", "Expect:"))


def test_refused_client_may_send_on(small: Server) -> None:
    """One that reads only when it has sent everything, as simple clients do: a reset would cost it the answer."""
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as client:
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {small.key}\r\nContent-Length: {4 * MIB}\r\n"
        )
        client.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n")
        assert client.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 400"
        for _ in range(64):
            client.sendall(bytes(MIB // 16))
        with client.makefile("rb") as answer:
            assert b"File is too large." in answer.read()


def test_without_a_key_nothing_is_sent(small: Server, tmp_path: Path) -> None:
    reply = post_zeros(small, tmp_path, 32 * MIB, key=False)
    assert (reply.status, reply.sent) == (401, 0)
    assert reply.json["error"]["message"].startswith("You didn't provide an API key.")


# --- download -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(server: Server) -> tuple[str, bytes]:
    """A file of 4 MiB: its id and content."""
    content = noise("stored", 4 * MIB)
    return server.upload(content, name="stored.bin")["id"], content


def test_resuming_a_cut_download(curl: Curl, stored: tuple[str, bytes]) -> None:
    file_id, content = stored
    part = curl.folder / "part.bin"
    part.write_bytes(content[:1_234_567])
    done = curl.save(file_id, "-C", "-", "-o", "part.bin", "-w", "%{http_code} %{size_download}")
    assert (done.returncode, done.stdout) == (0, b"206 %d" % (len(content) - 1_234_567)), done.stderr
    assert part.read_bytes() == content


def test_resuming_a_complete_download(curl: Curl, stored: tuple[str, bytes]) -> None:
    file_id, content = stored
    (curl.folder / "whole.bin").write_bytes(content)
    done = curl.save(file_id, "-C", "-", "-o", "whole.bin", "-w", "%{http_code}")
    assert (done.returncode, done.stdout) == (0, b"416"), done.stderr
    assert (curl.folder / "whole.bin").read_bytes() == content


@pytest.mark.parametrize(
    ("asked", "part", "content_range"),
    [
        ("0-0", slice(0, 1), "bytes 0-0/4194304"),
        ("1000000-2999999", slice(1_000_000, 3_000_000), "bytes 1000000-2999999/4194304"),
        ("1000-1999", slice(1000, 2000), "bytes 1000-1999/4194304"),
        ("4194000-", slice(4_194_000, None), "bytes 4194000-4194303/4194304"),
        ("-100", slice(-100, None), "bytes 4194204-4194303/4194304"),
        ("4194000-9999999", slice(4_194_000, None), "bytes 4194000-4194303/4194304"),
    ],
)
def test_ranges(curl: Curl, stored: tuple[str, bytes], asked: str, part: slice, content_range: str) -> None:
    file_id, content = stored
    reply = curl(f"/files/{file_id}/content", "-r", asked)
    assert (reply.status, reply.headers["content-range"]) == (206, content_range)
    assert reply.body == content[part]


def test_a_range_behind_the_end(curl: Curl, stored: tuple[str, bytes]) -> None:
    reply = curl(f"/files/{stored[0]}/content", "-r", "4194304-")
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */4194304")
    assert reply.json["error"]["type"] == "invalid_request_error"


def test_head(curl: Curl, stored: tuple[str, bytes]) -> None:
    file_id, content = stored
    reply = curl(f"/files/{file_id}/content", "-I")
    assert reply.status == 200
    assert reply.headers["content-length"] == str(len(content))
    assert reply.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert reply.headers["accept-ranges"] == "bytes"
    listed = curl("/files", "-I")
    assert (listed.status, listed.headers["content-type"]) == (200, "application/json")
    assert curl("/files/file-none", "-I").status == 404


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("plain name.txt", "plain name.txt"),
        ("semi;colon.txt", "semi;colon.txt"),
        # curl does not read filename*, and the plain form is ASCII: the ending and all that can be kept are kept.
        ("naïve – データ.txt", "na_ve _ ___.txt"),
        ('a "quoted" name.txt', "a _quoted_ name.txt"),
        ("..\\..\\up.txt", "up.txt"),
        ("../../up.txt", "up.txt"),
    ],
)
def test_saved_under_its_own_name(curl: Curl, name: str, saved: str) -> None:
    file_id = curl.server.upload(b"named", name=name)["id"]
    done = curl.save(file_id, "-O", "-J")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in curl.folder.iterdir()} == {saved: b"named"}


def test_the_whole_name_is_in_the_header(curl: Curl) -> None:
    """As the standard library's reader of such headers sees it, which knows `filename*`."""
    file_id = curl.server.upload(b"named", name="naïve – データ.txt")["id"]
    value = curl(f"/files/{file_id}/content", "-I").headers["content-disposition"]
    message = Message()
    message["Content-Disposition"] = re.sub(r'filename="[^"]*"; ', "", value)
    assert message.get_filename() == "naïve – データ.txt"


# --- keys -----------------------------------------------------------------------------------------------------------


def test_key_as_password(curl: Curl) -> None:
    assert curl("/files", "-u", f":{curl.server.key}", key=False).status == 200
    assert curl("/files", "-u", ":sk-wrong", key=False).status == 401
    assert curl("/files", "-u", f"{curl.server.key}:", key=False).status == 401


# --- the first start ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on an empty data directory, which has made and printed a first key."""
    with Server(tmp_path_factory.mktemp("fresh") / "data", "--print-key", key=None) as running:
        yield running


def printed(server: Server, before: str) -> str:
    """The paragraph of the server's output that follows the one that begins with `before`."""
    paragraphs = server.output.split("\n\n")
    (index,) = [index for index, paragraph in enumerate(paragraphs) if paragraph.startswith(before)]
    return paragraphs[index + 1]


def shell(script: str, folder: Path) -> str:
    find_program("curl")
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder)}
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_printed_curl_line(fresh: Server, tmp_path: Path) -> None:
    exports = printed(fresh, "Your first key")
    made = json.loads(shell(f"{exports}\n{printed(fresh, 'Upload a file with curl:')}", tmp_path))
    assert (made["object"], made["filename"], made["bytes"]) == ("file", "hello.txt", len("Hello, Filestead\n"))


def test_the_printed_python_snippet(fresh: Server, tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(printed(fresh, "or with Python"))
    exports = printed(fresh, "Your first key")
    file_id, content = shell(f"{exports}\n{sys.executable} snippet.py", tmp_path).split(" ", 1)
    assert file_id.startswith("file-")
    assert content == "b'Hello, Filestead'\n"


def test_the_printed_exports(fresh: Server, tmp_path: Path) -> None:
    exports = printed(fresh, "Your first key")
    script = f"""{exports}
    {sys.executable} -c 'import openai; print(len(openai.OpenAI().files.list().data))'"""
    assert int(shell(script, tmp_path)) >= 0
    assert fresh.output.count("OPENAI_API_KEY=") == 1


def test_the_printed_command_line(fresh: Server) -> None:
    exports = printed(fresh, "Your first key")
    # The command may be a path from the folder that the server was started in.
    shell(f"{exports}\n{printed(fresh, 'with the command line:')}", Path.cwd())


@pytest.mark.parametrize("way", ["file", "bootstrap", "bootstrap file"])
def test_the_printed_lines_with_a_key_that_is_not_printed(tmp_path: Path, way: str) -> None:
    """Not on a terminal, or with a key of one's own: the lines take it from where it is."""
    secret = "My API Key"
    (tmp_path / "own key").write_text(f"{secret}\n")
    settings = {
        "file": {},
        "bootstrap": {"bootstrap_key": secret},
        "bootstrap file": {"bootstrap_key_file": tmp_path / "own key"},
    }[way]
    with Server(tmp_path / "da ta", key=None, **settings) as server:
        exports = printed(server, "Your first key" if way == "file" else "Your key is the bootstrap key")
        own = f"export FILESTEAD_BOOTSTRAP_KEY='{secret}'" if way == "bootstrap" else ""
        made = json.loads(shell(f"{own}\n{exports}\n{printed(server, 'Upload a file with curl:')}", tmp_path))
        assert made["filename"] == "hello.txt"
        assert secret not in server.output
        assert not re.search(r"sk-\w", server.output)
