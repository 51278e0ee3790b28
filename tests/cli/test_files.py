"""create, retrieve, list and delete against the real server: what is printed, and what a failure says."""

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commandline import PROGRAM, SECONDS, CommandLine, Done
from tests.client.proxy import Fault, Proxy, raw_response
from tests.support.servers import Server


def made(done: Done) -> Any:
    assert done.code == 0, done.err
    assert done.err == ""
    return json.loads(done.out)


def content_of(server: Server, file_id: str) -> bytes:
    response = server.client.get(f"/files/{file_id}/content")
    assert response.status_code == 200
    return response.content


def ids(server: Server) -> list[str]:
    return [file["id"] for file in server.client.get("/files").json()["data"]]


# --- create ---------------------------------------------------------------------------------------------------------


def test_create_from_a_path(cli: CommandLine, server: Server) -> None:
    (cli.folder / "sub").mkdir()
    (cli.folder / "sub" / "data.bin").write_bytes(bytes(range(256)) * 5000)
    done = cli("files", "create", "--file", "sub/data.bin", "--purpose", "user_data")
    file = made(done)
    assert done.out == json.dumps(file, indent=2) + "\n"
    assert (file["filename"], file["bytes"], file["purpose"]) == ("data.bin", 1_280_000, "user_data")
    assert content_of(server, file["id"]) == bytes(range(256)) * 5000


@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
def test_create_from_a_pipe_with_data_waiting(cli: CommandLine, server: Server, path: str) -> None:
    body = b'{"purpose": "vision"}\n' * 100
    file = made(cli("files", "create", "--file", path, "--purpose", "user_data", stdin=body))
    assert (file["filename"], file["purpose"]) == ("anonymous_file", "user_data")
    assert content_of(server, file["id"]) == body


def test_create_from_a_redirected_file(cli: CommandLine, server: Server) -> None:
    (cli.folder / "in.bin").write_bytes(os.urandom(300_000))
    with (cli.folder / "in.bin").open("rb") as stdin:
        file = made(
            cli("files", "create", "--file", "-", "--purpose", "user_data", "--filename", "given.bin", stdin=stdin)
        )
    assert file["filename"] == "given.bin"
    assert content_of(server, file["id"]) == (cli.folder / "in.bin").read_bytes()


def test_create_from_an_empty_input(cli: CommandLine) -> None:
    file = made(cli("files", "create", "--file", "-", "--purpose", "user_data"))
    assert file["bytes"] == 0


@pytest.mark.parametrize(
    "name",
    [
        "naïve – データ.txt",
        "🦊.txt",
        "a b.txt",
        "a;b=c.txt",
        "a'b.txt",
        "100%.txt",
        "-rf.txt",
        "@at.txt",
        "~",
        "no-extension",
    ],
)
def test_names(cli: CommandLine, name: str) -> None:
    (cli.folder / name).write_text("x")
    words = ("--file", name, "--purpose", "user_data")
    assert made(cli("files", "create", *words))["filename"] == name
    (cli.folder / "plain.txt").write_text("x")
    assert made(cli("files", "create", "--file", "plain.txt", *words[2:], "--filename", name))["filename"] == name


@pytest.mark.parametrize(
    "words",
    [
        ["--expires-after", "{anchor: created_at, seconds: 7200}"],
        ["--expires-after", '{"seconds": 7200, "anchor": "created_at"}'],
        ["--expires-after.anchor", "created_at", "--expires-after.seconds", "7_200"],
        ["--expires-after={seconds: 1}", "--expires-after.seconds=7200", "--expires-after.anchor=created_at"],
    ],
)
def test_expiry_in_every_spelling(cli: CommandLine, words: list[str]) -> None:
    (cli.folder / "a.txt").write_text("x")
    file = made(cli("files", "create", "--file", "a.txt", "--purpose", "user_data", *words))
    assert file["expires_at"] - file["created_at"] == 7200


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.txt", "none.txt: No such file or directory"),
        (".", ".: Is a directory"),
        ("@a.txt", "@a.txt: No such file or directory"),
    ],
)
def test_files_that_cannot_be_read(cli: CommandLine, server: Server, path: str, message: str) -> None:
    (cli.folder / "a.txt").write_text("x")
    before = ids(server)
    done = cli("files", "create", "--file", path, "--purpose", "user_data")
    assert (done.code, done.data, done.err.splitlines()[0]) == (1, b"", f"filestead: {message}")
    assert ids(server) == before


def test_an_upload_that_the_server_refuses(cli: CommandLine, server: Server) -> None:
    (cli.folder / "a.txt").write_text("x")
    before = ids(server)
    done = cli("files", "create", "--file", "a.txt", "--purpose", "nonsense", "--format-error", "jsonl")
    error = json.loads(done.out)
    assert (done.code, done.out.count("\n")) == (1, 1)
    assert (error["type"], error["param"]) == ("invalid_request_error", "purpose")
    assert re.fullmatch(rf'POST "{server.base_url}/files": 400 Bad Request \(request id: req_\w+\)\n', done.err)
    assert ids(server) == before


# --- retrieve and delete --------------------------------------------------------------------------------------------


def test_retrieve_and_delete(cli: CommandLine, server: Server) -> None:
    file = server.upload(b"hello", name="a.txt")
    assert made(cli("files", "retrieve", file["id"])) == file
    assert made(cli("files", "retrieve", "--file-id", file["id"])) == file
    assert made(cli("files", "delete", file["id"])) == {"object": "file", "id": file["id"], "deleted": True}
    assert file["id"] not in ids(server)
    again = cli("files", "delete", file["id"])
    assert again.code == 1
    assert json.loads(again.out)["message"] == f"No such File object: {file['id']}"


@pytest.mark.parametrize("command", ["retrieve", "delete", "content"])
def test_not_found(cli: CommandLine, server: Server, command: str) -> None:
    done = cli("files", command, "file-none")
    assert done.code == 1
    assert json.loads(done.out)["type"] == "invalid_request_error"
    assert re.fullmatch(
        rf'(GET|DELETE) "{server.base_url}/files/file-none(/content)?": 404 Not Found \(request id: req_\w+\)\n',
        done.err,
    )


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (("--transform-error", "message"), '"No such File object: file-none"\n'),
        (("--transform-error", "nope", "--format-error", "raw"), None),
        (("--format-error", "yaml", "--transform-error", "{type}"), "type: invalid_request_error\n"),
        (
            ("--format", "yaml", "--transform", "message", "-r", "--transform-error", "type"),
            '"invalid_request_error"\n',
        ),
    ],
)
def test_errors_have_their_own_format(cli: CommandLine, words: tuple[str, ...], out: str | None) -> None:
    done = cli("files", "retrieve", "file-none", *words)
    assert done.code == 1
    if out is None:
        assert json.loads(done.out)["message"] == "No such File object: file-none"
    else:
        assert done.out == out


def test_ids_do_not_leave_their_place(cli: CommandLine) -> None:
    for odd in (".", "..", "a/b", "../files", "a?b#c", "ü"):
        done = cli("files", "retrieve", odd)
        assert done.code == 1
        assert json.loads(done.out)["message"].startswith("No such File object: ")


# --- list -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seven(server: Server) -> list[dict[str, Any]]:
    """Seven files of two purposes, oldest first; the only ones of these purposes in this module."""
    return [
        server.upload(f"{number}".encode(), name=f"ü{number}.txt", purpose="evals" if number % 3 else "assistants")
        for number in range(7)
    ]


def names(done: Done) -> list[str]:
    assert (done.code, done.err) == (0, "")
    return [json.loads(line)["filename"] for line in done.out.splitlines()]


def test_list_follows_the_pages(cli: CommandLine, seven: list[dict[str, Any]]) -> None:
    every = cli("files", "list", "--format", "jsonl")
    paged = cli("files", "list", "--format", "jsonl", "--limit", "2")
    assert paged.out == every.out
    of_purpose = names(cli("files", "list", "--purpose", "evals", "--limit", "2", "--format", "jsonl"))
    assert of_purpose == ["ü5.txt", "ü4.txt", "ü2.txt", "ü1.txt"]
    oldest_first = cli("files", "list", "--purpose", "evals", "--limit=1", "--format", "jsonl", "--order", "asc")
    assert names(oldest_first) == of_purpose[::-1]


@pytest.mark.parametrize(("most", "count"), [("0", 0), ("1", 1), ("3", 3), ("4", 4), ("99", 4), ("-1", 4)])
def test_max_items(cli: CommandLine, seven: list[dict[str, Any]], most: str, count: int) -> None:
    words = ("--purpose", "evals", "--limit", "2", "--max-items", most, "--format", "jsonl")
    assert len(names(cli("files", "list", *words))) == count


def test_after(cli: CommandLine, seven: list[dict[str, Any]]) -> None:
    done = cli("files", "list", "--purpose", "evals", "--after", seven[4]["id"], "--format", "jsonl")
    assert names(done) == ["ü2.txt", "ü1.txt"]


def test_all_can_be_deleted_while_listing(cli: CommandLine, server: Server) -> None:
    made = [server.upload(b"x", purpose="vision")["id"] for _ in range(5)]
    assert cli("files", "delete", made[2]).code == 0
    rest = ("files", "list", "--purpose", "vision", "--limit", "1", "--transform", "id", "-r")
    assert cli(*rest, "--after", made[2]).out.split() == made[1::-1]
    with cli.start_shell(f"{PROGRAM} {' '.join(rest)} | xargs -n 1 {PROGRAM} files delete") as process:
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, b"")
    assert server.client.get("/files?purpose=vision").json()["data"] == []


def test_list_prints_one_object_after_the_other(cli: CommandLine, seven: list[dict[str, Any]]) -> None:
    done = cli("files", "list", "--purpose", "assistants", "--order", "asc")
    wanted = [seven[0], seven[3], seven[6]]
    assert done.out == "".join(json.dumps(file, indent=2, ensure_ascii=False) + "\n" for file in wanted)


def test_raw_prints_the_first_page_as_it_came(cli: CommandLine, server: Server, seven: list[dict[str, Any]]) -> None:
    done = cli("files", "list", "--format", "raw", "--limit", "2", "--purpose", "evals")
    assert done.data == server.client.get("/files?limit=2&purpose=evals").content + b"\n"


def test_transform_and_raw_output(cli: CommandLine, seven: list[dict[str, Any]]) -> None:
    words = ("files", "list", "--purpose", "assistants", "--order", "asc", "--transform")
    assert cli(*words, "id").out == "".join(f'"{seven[at]["id"]}"\n' for at in (0, 3, 6))
    assert cli(*words, "filename", "-r").out == "ü0.txt\nü3.txt\nü6.txt\n"
    assert cli(*words, "{filename,bytes}", "--format", "jsonl").out.splitlines()[0] == '{"filename":"ü0.txt","bytes":1}'
    assert cli(*words, "bytes", "-r").out == "1\n1\n1\n"


def test_yaml_and_pretty(cli: CommandLine, seven: list[dict[str, Any]]) -> None:
    words = ("files", "list", "--purpose", "assistants", "--max-items", "2", "--transform", "{filename,expires_at}")
    assert (
        cli(*words, "--format", "yaml").out
        == "filename: ü6.txt\nexpires_at: null\nfilename: ü3.txt\nexpires_at: null\n"
    )
    assert cli(*words, "--format", "pretty").out.count("╭") == 2


def test_explore_is_json_with_a_warning(cli: CommandLine, seven: list[dict[str, Any]]) -> None:
    plain = cli("files", "retrieve", seven[0]["id"])
    explored = cli("files", "retrieve", seven[0]["id"], "--format", "explore")
    assert explored.out == plain.out
    assert explored.err == "filestead: the format explore is not supported; falling back to json\n"


def test_an_empty_list_prints_nothing(cli: CommandLine) -> None:
    assert cli("files", "list", "--purpose", "fine-tune-results") == Done(0, b"", "")


def test_a_reader_that_has_enough_ends_it_as_other_programs(cli: CommandLine, seven: list[dict[str, Any]]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = cli("files", "list", stdout=writer)
    os.close(writer)
    assert (done.code, done.err) == (-signal.SIGPIPE, "")


# --- connection -----------------------------------------------------------------------------------------------------


def test_a_wrong_key(cli: CommandLine, server: Server) -> None:
    done = cli("files", "list", "--api-key", "sk-wrong-key-123456789")
    assert done.code == 1
    assert json.loads(done.out)["code"] == "invalid_api_key"
    assert "sk-wrong-key-123456789" not in done.out + done.err
    assert re.fullmatch(rf'GET "{server.base_url}/files": 401 Unauthorized \(request id: req_\w+\)\n[^\n]+\n', done.err)


def test_no_server(bare: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = bare("files", "list", "--base-url", f"http://127.0.0.1:{port}/v1")
    assert (done.code, done.data) == (1, b"")
    assert re.fullmatch(rf"filestead: [^\n]*127\.0\.0\.1:{port}[^\n]*Connection refused\n[^\n]+\n", done.err)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("200 OK", "filestead: the response is JSON that is nested too deeply to be displayed\n"),
        (
            "400 Bad Request",
            'GET "{url}/files/file-1": 400 Bad Request\n'
            "filestead: the error object cannot be displayed: it is nested too deeply\n",
        ),
    ],
)
def test_json_of_too_many_levels(cli: CommandLine, server: Server, status: str, message: str) -> None:
    body = b'{"error": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with Proxy(
        server.port, [Fault(response=raw_response(status, "Content-Type: application/json", body=body))]
    ) as proxy:
        done = cli("files", "retrieve", "file-1", "--base-url", proxy.base_url)
    assert (done.code, done.data, done.err) == (1, b"", message.format(url=proxy.base_url))


@pytest.mark.parametrize(
    ("words", "env", "message"),
    [
        (
            ["--base-url", "127.0.0.1:1/v1"],
            {},
            '--base-url "127.0.0.1:1/v1" is missing a scheme (expected http:// or https://)',
        ),
        ([], {"OPENAI_BASE_URL": "localhost"}, 'OPENAI_BASE_URL "localhost" is missing a scheme'),
        (["--base-url", "http://"], {}, '--base-url "http://" is not a URL with a host'),
        (["--api-key", "sk-\u00fc"], {}, "the value of header Authorization has characters that cannot be sent"),
        (["--mtls-client-cert-file", "x"], {}, "a client certificate requires both --mtls-client-cert-file and "),
        (
            ["--mtls-client-cert-file", "x", "--mtls-client-key-file", "x"],
            {},
            "a client certificate requires an https base URL",
        ),
    ],
)
def test_settings_that_cannot_be_used(cli: CommandLine, words: list[str], env: dict[str, str], message: str) -> None:
    done = cli("files", "list", *words, env=env)
    assert (done.code, done.data) == (1, b"")
    assert done.err.startswith(f"filestead: {message}")
    assert done.err.endswith("Run 'filestead files list --help' for flags and examples.\n")
    assert "sk-ü" not in done.err


def test_a_server_that_is_something_else(cli: CommandLine, server: Server) -> None:
    done = cli("files", "list", "--base-url", server.origin + "/health/..")
    assert done.code == 1
    assert "Traceback" not in done.err


def test_debug_shows_heads_and_masks_secrets(cli: CommandLine, server: Server) -> None:
    done = cli(
        "files",
        "list",
        "--limit",
        "1",
        "--max-items",
        "1",
        "--debug",
        env={"OPENAI_CUSTOM_HEADERS": "Cookie: secret-a\nApi-Key: secret-b"},
    )
    assert done.code == 0
    assert json.loads(done.out)["object"] == "file"
    assert server.key is not None and server.key not in done.err
    assert "secret" not in done.err
    for line in ("  Authorization: Bearer <REDACTED>", "  Cookie: <REDACTED>", "  Api-Key: <REDACTED>"):
        assert line in done.err
    assert re.search(
        rf"^\d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d GET {server.base_url}/files\?limit=1$", done.err, re.MULTILINE
    )
    assert re.search(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d 200 OK$", done.err, re.MULTILINE)
    assert "x-request-id: req_" in done.err.lower()


def test_a_closed_output_is_a_failure(cli: CommandLine) -> None:
    (cli.folder / "a.txt").write_text("x")
    script = 'exec filestead files create --file a.txt --purpose user_data "$@"'
    for closed, wanted in ((">&-", 1), ("2>&-", 0), ("<&-", 0)):
        with cli.start_shell(f"{script} {closed}") as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == wanted, (closed, err)
        assert b"Traceback" not in err
        assert (json.loads(out)["filename"] if wanted == 0 else out) == ("a.txt" if wanted == 0 else b"")


def test_a_full_disk_is_a_failure(cli: CommandLine) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "wb") as full:
        done = cli("files", "list", stdout=full)
    assert (done.code, done.err) == (1, "filestead: No space left on device\n")


def test_version(bare: CommandLine) -> None:
    from filestead import __version__

    for word in ("--version", "-v"):
        assert bare(word, env={"OPENAI_BASE_URL": "nonsense"}) == Done(0, f"filestead {__version__}\n".encode(), "")
