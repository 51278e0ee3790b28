"""What is args when words, files, addresses or keys are wrong: one style for both halves, and always the remedy.

The first line begins with `filestead: ` (or is the status line of a response), the second says what to do.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from filestead.cli.client.catalog.files import CREATE_PURPOSES
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.client.commands.file_upload import reject_misspelled_purpose
from filestead.cli.command_names import KEY_SYNONYMS, SERVER_COMMANDS, SYNONYMS, TOP_LEVEL_SYNONYMS
from filestead.cli.errors import UsageError
from tests.cli.commandline import PROGRAM, CommandLine
from tests.client.test_tls import Tunnel, certificate  # noqa: F401 - a fixture
from tests.support.servers import Server

UPLOAD = ("files", "create", "--purpose", "user_data", "--file")


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("files create README.md", 1, "files create --file README.md --purpose PURPOSE"),
        ("files create --purpose batch README.md", 1, "files create --file README.md --purpose PURPOSE"),
        ("files create --purpose batch --file a.jsonl b.jsonl c.jsonl", 1, "files are uploaded one at a time"),
        ("files create --purpose batch a.jsonl b.jsonl", 1, 'do filestead files create --file "$file"'),
        ("files delete file-1 file-2", 1, "xargs -n 1 filestead files delete"),
        ("files create --file a.jsonl", 1, "missing required flag --purpose"),
        ("files list --limt 1", 1, "unknown flag --limt; did you mean --limit?"),
        ("files upload a.jsonl", 3, "did you mean 'filestead files create'?"),
        ("files put a.jsonl", 3, "did you mean 'filestead files create'?"),
        ("files get file-1", 3, "did you mean 'filestead files retrieve'?"),
        ("files download file-1", 3, "did you mean 'filestead files content'?"),
        ("files rm file-1", 3, "did you mean 'filestead files delete'?"),
        ("files ls", 3, "did you mean 'filestead files list'?"),
        ("files LS", 3, "did you mean 'filestead files list'?"),
        ("files creat", 3, "did you mean 'filestead files create'?"),
        ("files qqqq", 3, "run 'filestead files --help' for a list of commands"),
        ("upload a.jsonl", 3, "did you mean 'filestead files create'?"),
        ("list", 3, "did you mean 'filestead files list'?"),
        ("start", 3, "did you mean 'filestead serve'?"),
        ("keys create", 1, "missing required flag --project"),
        ("keys create --project", 1, "--project requires a value"),
        ("keys create --project a b", 1, "unexpected extra arguments: b"),
        ("keys create --project a --expires-in soon", 1, 'invalid value for --expires-in: unable to convert "soon"'),
        ("keys create --project a --scope all", 1, 'invalid value "all" for --scope'),
        ("keys revoke", 1, "missing required argument KEY_ID"),
        ("keys new", 3, "did you mean 'filestead keys create'?"),
        ("keys rm", 3, "did you mean 'filestead keys revoke'?"),
        ("keys lst", 3, "did you mean 'filestead keys list'?"),
        ("verify --dep", 1, "unknown flag --dep; did you mean --deep?"),
        ("serve --portt 1", 1, "unknown flag --portt; did you mean --port?"),
        ("serve extra", 1, "unexpected extra arguments: extra"),
    ],
)
def test_words_that_make_no_sense(bare: CommandLine, words: str, code: int, message: str) -> None:
    done = bare(*words.split())
    assert (done.code, done.data) == (code, b""), done.err
    first, *rest = done.err.splitlines()
    assert first.startswith("filestead: ")
    assert message in first
    if code == 1:
        named = " ".join(words.split()[: 1 if words.split()[0] in {"serve", "verify"} else 2])
        assert rest == [f"Run 'filestead {named} --help' for flags and examples."]
    else:
        assert rest == []
    assert bare.names() == [], "nothing was made"


def test_synonyms_lead_to_commands_that_exist() -> None:
    files = {command.name for command in GROUPS["files"].commands}
    assert set(SYNONYMS.values()) <= files
    assert set(KEY_SYNONYMS.values()) - files == {"revoke"}
    assert {meant.split(" ")[0] for meant in TOP_LEVEL_SYNONYMS.values()} <= {*GROUPS, *SERVER_COMMANDS, "--version"}
    assert not set(SYNONYMS) & files


@pytest.mark.parametrize("word", ["-V", "-v", "--version"])
def test_the_version_in_every_spelling(bare: CommandLine, word: str) -> None:
    done = bare(word)
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"filestead \d+\.\d+\S*\n", done.out)


# --- purposes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "meant"),
    [
        ("bacth", "batch"),
        ("Batch", "batch"),
        ("batchs", "batch"),
        ("fine_tune", "fine-tune"),
        ("finetune", "fine-tune"),
        ("fine tune", "fine-tune"),
        ("user-data", "user_data"),
        ("userdata", "user_data"),
        ("assistant", "assistants"),
        ("eval", "evals"),
        ("vison", "vision"),
    ],
)
def test_a_misspelled_purpose_is_told_before_anything_is_sent(bare: CommandLine, purpose: str, meant: str) -> None:
    (bare.folder / "a.txt").write_text("x")
    # Nobody listens there: a request would fail in another way.
    address = ("--base-url", "http://127.0.0.1:9/v1")
    words = ("files", "create", "--file", "a.txt", "--purpose", purpose, *address)
    done = bare(*words)
    assert (done.code, done.data) == (1, b"")
    assert f"unknown purpose {purpose}; did you mean {meant}?" in done.err
    assert "--any-purpose" in done.err
    assert "Connection refused" in bare(*words, "--any-purpose").err


@pytest.mark.parametrize(
    "purpose",
    [*CREATE_PURPOSES, "batch_output", "file-extract", "retrieval", "ocr", "bad", "not a purpose ü", "", "@evals"],
)
def test_purposes_that_other_servers_may_know_pass(purpose: str) -> None:
    reject_misspelled_purpose(purpose)


def test_a_misspelled_purpose_in_a_piped_body(bare: CommandLine) -> None:
    with pytest.raises(UsageError):
        reject_misspelled_purpose("bacth")
    done = bare("files", "create", "--file", "a.txt", stdin=b"purpose: bacth")
    assert "unknown purpose bacth; did you mean batch?" in done.err


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_folder(cli: CommandLine) -> None:
    (cli.folder / "sub").mkdir()
    done = cli(*UPLOAD, "sub")
    assert (done.code, done.data) == (1, b"")
    assert re.fullmatch(r"filestead: sub: Is a directory\n[^\n]*tar cz DIRECTORY \| filestead[^\n]*\n", done.err)


def test_a_pattern_that_nothing_matches(cli: CommandLine) -> None:
    done = cli(*UPLOAD, "*.jsonl")
    assert re.fullmatch(
        r"filestead: \*\.jsonl: No such file or directory\nNo file matches this pattern[^\n]*\n", done.err
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"\xff\xfe.txt", "is not valid UTF-8"),
        (b"caf\xe9.txt", "is not valid UTF-8"),
        (b"back\\", "ends with a backslash"),
        (b"bell\x07.txt", "contains control characters"),
        (b"\x1b[31mred.txt", "contains control characters"),
    ],
)
def test_a_name_that_cannot_be_kept(cli: CommandLine, server: Server, name: bytes, reason: str) -> None:
    path = os.fsdecode(name)
    (cli.folder / path).write_text("x")
    before = server.client.get("/files").json()
    done = cli(*UPLOAD, path)
    assert (done.code, done.data) == (1, b"")
    assert re.fullmatch(rf"filestead: the file name '[ -~]+' {reason}[^\n]*--filename NAME\n", done.err)
    assert server.client.get("/files").json() == before
    kept = cli(*UPLOAD, path, "--filename", "kept.txt")
    assert json.loads(kept.out)["filename"] == "kept.txt"


# --- addresses and keys ---------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_nobody_listens(bare: CommandLine) -> None:
    done = bare("files", "list", "--base-url", f"http://127.0.0.1:{free_port()}/v1")
    assert done.code == 1
    first, hint = done.err.splitlines()
    assert first.startswith("filestead: ") and first.endswith("Connection refused")
    assert hint.startswith("Is the server running? Start it with `filestead serve`, or set OPENAI_BASE_URL")


def test_tls_on_a_plain_port(cli: CommandLine, server: Server) -> None:
    done = cli("files", "list", "--base-url", f"https://127.0.0.1:{server.port}/v1")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("The server does not use TLS on this port")


def test_plain_http_on_a_port_with_tls(cli: CommandLine, server: Server, certificate: Path) -> None:  # noqa: F811
    with contextlib.closing(Tunnel(certificate, server.port)) as tunnel:
        done = cli("files", "list", "--base-url", tunnel.base_url.replace("https", "http"))
        untrusted = cli("files", "list", "--base-url", tunnel.base_url)
    assert done.code == 1
    assert done.err.splitlines()[-1].endswith("use a base URL that begins with https://."), done.err
    assert untrusted.err.splitlines()[-1].startswith("To trust a private certificate authority, set SSL_CERT_FILE"), (
        untrusted.err
    )


def test_an_unknown_host(cli: CommandLine) -> None:
    done = cli("files", "list", "--base-url", "http://files.invalid/v1")
    assert done.err.splitlines()[-1].startswith("Is the host in OPENAI_BASE_URL"), done.err


@pytest.mark.parametrize(
    ("key", "start"),
    [
        ("sk-wrong-key-0123456789", "The server rejected this API key."),
        ("", "No API key was sent; set OPENAI_API_KEY."),
    ],
)
def test_a_key_that_is_refused(cli: CommandLine, key: str, start: str) -> None:
    done = cli("files", "list", env={"OPENAI_API_KEY": key})
    status, hint = done.err.splitlines()
    assert re.fullmatch(r'GET "http://\S+/files": 401 Unauthorized \(request id: req_\w+\)', status)
    assert hint == f"{start} To create a key, run `filestead keys create --project default` on the server's machine."
    assert "code" in json.loads(done.out), "the error object still goes to standard output"


# --- names of a new key ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["organization", "project", "user"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a\r\nSet-Cookie: x", "control characters"),
        ("a\nb", "control characters"),
        ("a\x1b[31m", "control characters"),
        ("a\x7f", "control characters"),
        ("a\x85b", "control characters"),
        ("a\u2028b", "control characters"),
        ("a\u202eb", "control characters"),
        (os.fsdecode(b"\xff"), "not UTF-8"),
        (" a", "begins or ends with a blank"),
        ("", "is empty"),
        ("   ", "is empty"),
        ("a" * 256, "longer than 255"),
    ],
)
def test_names_that_no_header_can_carry(bare: CommandLine, what: str, name: str, reason: str) -> None:
    flags = {"project": "p", what: name}
    done = bare("keys", "create", *(word for flag, value in flags.items() for word in (f"--{flag}", value)))
    assert (done.code, done.data) == (1, b""), done.err
    (line,) = done.err.splitlines()
    assert line.startswith(f"filestead: the {what} name ")
    assert reason in line
    assert line.isprintable()


@pytest.mark.parametrize("name", ["Zürich", "研究", "two words", "a/b", "日本 (旧)", "x" * 255])
def test_names_of_every_language_work(bare: CommandLine, server: Server, name: str) -> None:
    words = ("keys", "create", "--organization", name, "--project", name, "--user", name)
    done = bare(*words, env={**server.place.variables(), "FILESTEAD_DATA_DIR": str(server.data_dir)})
    assert done.code == 0, done.err
    key = done.out.strip()
    assert re.fullmatch(r"sk-\S+", key), "the new key, alone"
    listed = bare("files", "list", env={"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": key})
    assert (listed.code, listed.err) == (0, "")


# --- the end of a server --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_a_server_with_a_line(bare: CommandLine, tmp_path: Path, workers: str) -> None:
    env = {"FILESTEAD_DATA_DIR": str(tmp_path / "data"), "FILESTEAD_PORT": "0"}
    log = tmp_path / "log"
    with log.open("wb") as output, bare.start("serve", "--workers", workers, env=env, stderr=output) as process:
        deadline = time.monotonic() + 60
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith((b"Keys:", b"print(")) or time.monotonic() > deadline:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT, "as every program that Ctrl-C ends; a shell sees 130"
    assert log.read_text().splitlines()[-1] == "filestead: stopped by Ctrl-C"
    assert "Traceback" not in log.read_text()


# --- the program's own name -----------------------------------------------------------------------------------------


def test_the_name_of_the_program_is_the_one_that_works(bare: CommandLine) -> None:
    """On PATH it is `filestead`; else its path, from the working directory if it is below."""
    code = "from filestead.server.program import program; print(program())"
    names = {}
    for place, path in {"on": f"{PROGRAM.parent}:/usr/bin:/bin", "off": "/usr/bin:/bin"}.items():
        for folder in (bare.folder, PROGRAM.parents[2]):
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=folder,
                env={"PATH": path},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            names[place, folder] = done.stdout.strip()
    assert names["on", bare.folder] == names["on", PROGRAM.parents[2]] == "filestead"
    assert names["off", bare.folder] == str(PROGRAM)
    assert names["off", PROGRAM.parents[2]] == str(PROGRAM.relative_to(PROGRAM.parents[2]))
