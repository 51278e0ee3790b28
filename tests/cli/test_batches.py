"""`filestead batches` with a server that has the official routes alone, and without any server."""

import json
import os
import pty
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from filestead.cli.client.commands.batch_progress import Pace, format_duration
from filestead.cli.client.commands.batch_requests import parse
from tests.cli.commandline import SECONDS, CommandLine, Process, Screen, interrupt
from tests.cli.other_server import BATCH_ID, OtherServer, state

CHAT = "/v1/chat/completions"
OUTPUT, ERRORS = b'{"custom_id": "a"}\n', b'{"custom_id": "b"}\n'
FILES = {"file-out": OUTPUT, "file-err": ERRORS}
COMPLETED = state("completed", 1, 1, output_file_id="file-out")
SOME_FAILED = state("completed", 2, 1, 1, output_file_id="file-out", error_file_id="file-err")
RUNNING = [state("validating"), state("in_progress", 2, 1)]


def line(custom_id: str = "a", url: str = CHAT, **body: Any) -> dict[str, Any]:
    whole = {"model": "m", "messages": []} | body
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": whole}


def write(folder: Path, *lines: dict[str, Any] | str, name: str = "in.jsonl") -> None:
    text = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines)
    (folder / name).write_text(text)


@pytest.fixture
def folder(bare: CommandLine) -> Path:
    write(bare.folder, line("a"), line("b"))
    return bare.folder


def to(other: OtherServer, bare: CommandLine) -> CommandLine:
    return bare.with_env(OPENAI_BASE_URL=other.base_url, OPENAI_API_KEY="sk-test")


# --- run ------------------------------------------------------------------------------------------------------------


def test_run_uploads_creates_waits_and_saves_both_files(bare: CommandLine, folder: Path) -> None:
    with OtherServer([*RUNNING, SOME_FAILED], FILES) as other:
        done = to(other, bare)("batches", "run", "in.jsonl", "--metadata", "{job: x}")
    assert done.code == 4
    assert json.loads(done.out)["status"] == "completed"
    assert done.err.endswith("filestead: 1 of 2 lines failed\n")
    assert (folder / "in_output.jsonl").read_bytes() == OUTPUT
    assert (folder / "in_error.jsonl").read_bytes() == ERRORS
    (_, _, upload), (_, path, body) = other.requests[:2]
    assert (folder / "in.jsonl").read_bytes() in upload and b'name="purpose"\r\n\r\nbatch\r\n' in upload
    assert (path, json.loads(body)) == (
        "/v1/batches",
        {"completion_window": "24h", "endpoint": CHAT, "input_file_id": "file-in", "metadata": {"job": "x"}},
    )


def test_run_without_a_failed_line_is_a_success(bare: CommandLine, folder: Path) -> None:
    with OtherServer([COMPLETED], FILES) as other:
        done = to(other, bare)("batches", "run", "in.jsonl", "-r", "--transform", "id")
    assert (done.code, done.out) == (0, f"{BATCH_ID}\n")
    assert sorted(path.name for path in folder.iterdir()) == ["in.jsonl", "in_output.jsonl"]


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_a_batch_that_ends_otherwise_has_a_status_of_its_own(bare: CommandLine, folder: Path, status: str) -> None:
    errors = {"object": "list", "data": [{"code": "invalid_url", "line": 3, "message": "Wrong.", "param": "url"}]}
    with OtherServer([state(status, errors=errors if status == "failed" else None)]) as other:
        done = to(other, bare)("batches", "run", "in.jsonl")
    assert done.code == 5
    words = {"failed": f"{BATCH_ID} failed\n  line 3: invalid_url: Wrong.", "expired": f"{BATCH_ID} has expired"}
    assert words.get(status, f"{BATCH_ID} was cancelled") in done.err
    assert list(folder.iterdir()) == [folder / "in.jsonl"]


def test_detached_it_prints_the_batch_and_does_not_wait(bare: CommandLine, folder: Path) -> None:
    with OtherServer(RUNNING) as other:
        done = to(other, bare)("batches", "run", "in.jsonl", "--detach", "--endpoint", "/v1/x", "--no-check")
    assert (done.code, json.loads(done.out)["status"]) == (0, "validating")
    assert [path for _, path, _ in other.requests] == ["/v1/files", "/v1/batches"]
    assert json.loads(other.requests[1][2])["endpoint"] == "/v1/x"


def test_output_may_be_standard_output_or_named_files(bare: CommandLine, folder: Path) -> None:
    (folder / "old").write_text("old")
    with OtherServer([SOME_FAILED], FILES) as other:
        done = to(other, bare)("batches", "run", "--file", "in.jsonl", "-o", "-", "--errors", "old")
    assert (done.code, done.data) == (4, OUTPUT)
    assert (folder / "old").read_bytes() == ERRORS


@pytest.mark.parametrize(("words", "reason"), [
    (["in.jsonl"], "in_output.jsonl exists already; remove it, or name a file with --output"),
    (["in.jsonl", "-o", "none/x"], "--output none/x cannot be written: directory"),
    (["in.jsonl", "-o", "x", "--endpoint", "/v1/embeddings"], "in.jsonl cannot run as a batch: 2 faults. Nothing was sent"),
    (["empty", "-o", "x"], "empty has no line; a batch needs at least one request"),
    (["words", "-o", "x"], "the first line of words has no url; name the endpoint with --endpoint"),
    (["none", "-o", "x"], "none: No such file or directory"),
])  # fmt: skip
def test_what_cannot_work_is_said_before_anything_is_sent(
    bare: CommandLine, folder: Path, words: list[str], reason: str
) -> None:
    write(folder, "old", name="in_output.jsonl")
    write(folder, name="empty")
    write(folder, "some words", name="words")
    with OtherServer([COMPLETED]) as other:
        done = to(other, bare)("batches", "run", *words)
    assert (done.code, done.out, other.requests) == (1, "", [])
    assert f"filestead: {reason}" in done.err


def test_the_progress_without_a_terminal_is_a_line_for_each_status(bare: CommandLine, folder: Path) -> None:
    with OtherServer([*RUNNING, RUNNING[1], COMPLETED], FILES, {"x-filestead-batch-eta": "75"}) as other:
        done = to(other, bare)("batches", "wait", BATCH_ID)
        quiet = to(other, bare)("batches", "wait", BATCH_ID, "--no-progress")
    lines = done.err.splitlines()
    assert lines[0] == f"{BATCH_ID} validating"
    assert lines[1].startswith(f"{BATCH_ID} in_progress: 1 of 2 lines") and lines[1].endswith(", 1 min 15 s left")
    assert lines[2].startswith(f"{BATCH_ID} completed: 1 of 1 lines") and len(lines) == 3
    assert (done.code, json.loads(done.out)["output_file_id"]) == (0, "file-out")
    assert (quiet.code, quiet.err) == (0, "")


def test_the_progress_says_what_a_batch_waits_for(bare: CommandLine) -> None:
    headers = {"x-filestead-batch-paused": "gpu: it does not know the model \x1b[2J"}
    with OtherServer([RUNNING[1], COMPLETED], FILES, headers) as other:
        done = to(other, bare)("batches", "wait", BATCH_ID)
    assert "in_progress: 1 of 2 lines, waits for gpu: it does not know the model" in done.err
    assert "\x1b" not in done.err


def test_a_wait_survives_a_server_that_is_away(bare: CommandLine) -> None:
    with OtherServer([state("in_progress", 2, 1)]) as other:
        pass
    port = int(other.base_url.rpartition(":")[2].removesuffix("/v1"))
    with bare.with_env(OPENAI_BASE_URL=other.base_url).start("batches", "wait", BATCH_ID) as process:
        assert process.stderr is not None
        assert b"waiting for the server" in process.stderr.readline()
        with OtherServer([COMPLETED], port=port):
            out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert b"waiting for the server" not in err, "said once"
    assert json.loads(out)["status"] == "completed"


def test_an_unknown_batch_is_an_error_at_once(bare: CommandLine) -> None:
    with OtherServer([COMPLETED]) as other:
        done = to(other, bare)("batches", "wait", "batch_x")
    assert done.code == 1 and "404" in done.err and "no such route" in done.out


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------


class Terminal:
    """A terminal for standard input and standard error, on which keys can be pressed."""

    def __init__(self) -> None:
        self.screen = Screen()
        self.keys, self.stdin = pty.openpty()

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + 30
        while text not in self.screen.kept:
            assert time.monotonic() < deadline, self.screen.kept
            time.sleep(0.02)

    def press(self, keys: bytes) -> None:
        os.write(self.keys, keys)

    def close(self) -> str:
        os.close(self.stdin)
        os.close(self.keys)
        return self.screen.close().decode()


def start_on(terminal: Terminal, cli: CommandLine) -> Process:
    return cli.start("batches", "run", "in.jsonl", stdin=terminal.stdin, stderr=terminal.screen.descriptor)


@pytest.mark.parametrize("key", [b"y\n", b"YES\n"])
def test_ctrl_c_asks_and_yes_cancels_and_saves_what_there_is(bare: CommandLine, folder: Path, key: bytes) -> None:
    ended = state("cancelled", 2, 1, output_file_id="file-out", error_file_id="file-err")
    terminal = Terminal()
    after = [state("cancelling", 2, 1), ended]
    with (
        OtherServer([state("in_progress", 2, 1)], FILES, after_cancel=after) as other,
        start_on(terminal, to(other, bare)) as process,
    ):
        terminal.wait_for(b"1 of 2 lines")
        process.send_signal(signal.SIGINT)
        terminal.wait_for(b"[y/N] ")
        terminal.press(key)
        out, _ = process.communicate(timeout=SECONDS)
    screen = terminal.close()
    assert process.returncode == 5
    assert f"Cancel {BATCH_ID}? Otherwise it goes on. [y/N] " in screen
    assert screen.endswith(f"filestead: {BATCH_ID} was cancelled, with 1 of 2 lines done\n")
    assert json.loads(out)["status"] == "cancelled"
    assert (folder / "in_output.jsonl").read_bytes() == OUTPUT and (folder / "in_error.jsonl").read_bytes() == ERRORS
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h") > 0


@pytest.mark.parametrize("key", [b"\n", b"n\n", b"what\n", b"\x04", None])
def test_ctrl_c_and_anything_else_lets_it_go_on(bare: CommandLine, folder: Path, key: bytes | None) -> None:
    terminal = Terminal()
    with OtherServer([state("in_progress", 2, 1)]) as other, start_on(terminal, to(other, bare)) as process:
        terminal.wait_for(b"1 of 2 lines")
        process.send_signal(signal.SIGINT)
        terminal.wait_for(b"[y/N] ")
        if key is None:
            process.send_signal(signal.SIGINT)
        else:
            terminal.press(key)
        assert process.wait(SECONDS) == -signal.SIGINT
        assert process.communicate() == (b"", None)
    assert f"{BATCH_ID} goes on. Wait for it with `filestead batches wait {BATCH_ID}`" in terminal.close()
    assert not [path for method, path, _ in other.requests if path.endswith("/cancel")]


def test_ctrl_c_without_a_terminal_lets_it_go_on(bare: CommandLine, folder: Path) -> None:
    with (
        OtherServer([state("in_progress", 2, 1)]) as other,
        to(other, bare).start("batches", "run", "in.jsonl") as process,
    ):
        deadline = time.monotonic() + 30
        while len(other.requests) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert interrupt(process) == -signal.SIGINT
        _, err = process.communicate()
    assert f"{BATCH_ID} goes on." in err.decode()


# --- results --------------------------------------------------------------------------------------------------------


def test_results_of_an_ended_batch_are_its_files(bare: CommandLine) -> None:
    with OtherServer([SOME_FAILED], FILES) as other:
        cli = to(other, bare)
        assert cli("batches", "results", BATCH_ID).data == OUTPUT
        assert cli("batches", "results", BATCH_ID, "--errors").data == ERRORS
        done = cli("batches", "results", BATCH_ID, "-o", "r.jsonl")
    assert (done.code, done.err) == (0, "Wrote output to: r.jsonl\n")
    assert (bare.folder / "r.jsonl").read_bytes() == OUTPUT
    with OtherServer([COMPLETED], FILES) as other:
        done = to(other, bare)("batches", "results", BATCH_ID, "--errors")
        assert (done.code, done.data, done.err) == (0, b"", "")
        done = to(other, bare)("batches", "results", BATCH_ID, "--errors", "-o", "none.jsonl")
        assert (done.code, "nothing was written to none.jsonl" in done.err) == (0, True)


def test_results_before_the_end_need_filestead_or_follow(bare: CommandLine) -> None:
    with OtherServer([state("in_progress", 2, 1)]) as other:
        done = to(other, bare)("batches", "results", BATCH_ID, "-o", "r.jsonl")
    assert (done.code, done.out, bare.names()) == (1, "", [])
    assert "this server has results only at the end; add --follow to wait" in done.err
    with OtherServer([*RUNNING, RUNNING[1], COMPLETED], FILES) as other:
        done = to(other, bare)("batches", "results", BATCH_ID, "--follow")
    assert (done.code, done.data) == (0, OUTPUT)


# --- retry, cancel, list --------------------------------------------------------------------------------------------


def test_retry_and_cancel_send_no_body(bare: CommandLine) -> None:
    with OtherServer([COMPLETED]) as other:
        cli = to(other, bare)
        assert cli("batches", "cancel", BATCH_ID).code == 0
        assert cli("batches", "retry", BATCH_ID).code == 1
    assert other.requests == [
        ("POST", f"/v1/batches/{BATCH_ID}/cancel", b""),
        ("POST", f"/v1/batches/{BATCH_ID}/retry", b""),
    ]


# --- check ----------------------------------------------------------------------------------------------------------


def test_check_needs_no_server_and_prints_each_fault_with_its_line(bare: CommandLine) -> None:
    write(bare.folder, line("a"), "", line("a"), "{", line("b", stream=True), line("c", "/v1/embeddings"))
    done = bare("batches", "check", "in.jsonl")
    assert done.code == 1
    assert [text.split(": ")[:2] for text in done.out.splitlines()] == [
        ["in.jsonl:3", "duplicate_custom_id"],
        ["in.jsonl:4", "invalid_json_line"],
        ["in.jsonl:5", "streaming_unsupported"],
        ["in.jsonl:6", "invalid_url"],
    ]
    assert done.err == "filestead: in.jsonl cannot run as a batch: 4 faults\n"


def test_check_of_a_good_file_says_what_it_found(bare: CommandLine, folder: Path) -> None:
    done = bare("batches", "check", "in.jsonl")
    assert (done.code, done.out, done.err) == (0, f"in.jsonl: 2 requests for {CHAT}, model m\n", "")
    done = bare("batches", "check", "in.jsonl", "--endpoint", "/v1/embeddings")
    assert (done.code, done.out.count("invalid_url")) == (1, 2)
    write(folder, line("a"), line("b", model="n"))
    assert bare("batches", "check", "in.jsonl").code == 0
    assert "mismatched_model" in bare("batches", "check", "in.jsonl", "--single-model").out


# --- the pace -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_pace_is_that_of_the_last_minute() -> None:
    pace = Pace()
    batch = parse(json.dumps({"id": "b"} | state("in_progress", 1000, 200, 10)))
    assert pace.describe(batch) == "210 of 1,000 lines, 10 failed"
    for second, done in ((0, 0), (100, 100), (130, 160), (160, 220)):
        pace.add(second, done)
    assert pace.rate == 2.0
    assert pace.describe(batch) == "210 of 1,000 lines, 10 failed, 2.0 lines/s, 6 min 35 s left"
    assert pace.describe(parse(json.dumps({"id": "b"} | state("in_progress", 1000, 200, 10)), "8.0")).endswith(
        ", 8 s left"
    )
