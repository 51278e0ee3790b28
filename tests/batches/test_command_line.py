"""`filestead batches` against a Filestead server with a model server behind it, and a server without Filestead's routes."""

import json
import os
import pty
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import CHAT, create, encode, get, ids, line, lines, wait
from tests.cli.commandline import PROGRAM, SECONDS, CommandLine, Screen
from tests.client.proxy import Fault as ProxyFault
from tests.client.proxy import Proxy
from tests.support.model_server import Fault
from tests.support.servers import Server
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def server(models: ThreadedModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Filestead server that waits for its model server longer than any command of these tests takes."""
    folder = tmp_path_factory.mktemp("batches")
    options = {"upstream_timeout": 120, "batch_cancel_seconds": 1, "uploads_per_minute": 0}
    with Server(folder / "data", upstream_url=models.url, **options) as made:
        yield made


@pytest.fixture
def cli(tmp_path: Path, server: Server) -> CommandLine:
    """`filestead` in an empty folder, with the address and key of the server."""
    folder = tmp_path / "folder"
    folder.mkdir()
    env = {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    env |= {"TERM": "xterm-256color", "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": str(server.key)}
    return CommandLine(folder, env)


def write(cli: CommandLine, given: list[Any]) -> None:
    (cli.folder / "in.jsonl").write_bytes(encode(given))


def read(path: Path) -> list[Any]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def number_of_lines(path: Path) -> int:
    """Of a file that is being written, or will be."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_run_to_its_end(cli: CommandLine, models: ThreadedModels) -> None:
    write(cli, lines(300))
    done = cli("batches", "run", "in.jsonl", "--metadata", "{job: nightly}")
    assert done.code == 0, done.err
    batch = json.loads(done.out)
    assert (batch["status"], batch["metadata"], batch["endpoint"]) == ("completed", {"job": "nightly"}, CHAT)
    assert batch["request_counts"] == {"total": 300, "completed": 300, "failed": 0}
    assert sorted(ids(read(cli.folder / "in_output.jsonl"))) == sorted(ids(lines(300)))
    assert cli.names() == ["in.jsonl", "in_output.jsonl"]
    assert len(models.server.requests) == 300
    assert f"{batch['id']} completed: 300 of 300 lines" in done.err


def test_run_with_lines_that_fail_and_their_retry(cli: CommandLine, models: ThreadedModels) -> None:
    models.server.script = lambda request: Fault.of_status(400) if b"text 2" in request.body else None
    write(cli, lines(5))
    done = cli("batches", "run", "in.jsonl", "-o", "good.jsonl", "--errors", "bad.jsonl")
    assert (done.code, done.err.splitlines()[-1]) == (4, "filestead: 1 of 5 lines failed")
    assert ids(read(cli.folder / "bad.jsonl")) == ["line-2"]
    assert len(read(cli.folder / "good.jsonl")) == 4
    models.server.script = None
    again = cli("batches", "retry", json.loads(done.out)["id"], "-r", "--transform", "id")
    assert again.code == 0, again.err
    waited = cli("batches", "wait", again.out.strip(), "--transform", "request_counts", "--format", "jsonl")
    assert (waited.code, json.loads(waited.out)) == (0, {"total": 1, "completed": 1, "failed": 0})
    assert ids(map(json.loads, cli("batches", "results", again.out.strip()).out.splitlines())) == ["line-2"]


def test_check_finds_what_the_server_finds_and_run_sends_nothing(cli: CommandLine, models: ThreadedModels) -> None:
    write(cli, [line("a"), line("a"), line("b", stream=True), line("c", url="/v1/embeddings"), line("d", api_key="x")])
    local = [text.partition(" ")[::2] for text in cli("batches", "check", "in.jsonl").out.splitlines()]
    refused = cli("batches", "run", "in.jsonl")
    assert (refused.code, "Nothing was sent" in refused.err) == (1, True)
    remote = cli("batches", "run", "in.jsonl", "--no-check", "--transform", "errors.data", "--format", "jsonl")
    found = json.loads(remote.out)
    assert (remote.code, models.server.requests) == (5, [])
    assert [f"in.jsonl:{entry['line']}:" for entry in found] == [where for where, _ in local]
    assert [f"{entry['code']}: {entry['message']} ({entry['param']})" for entry in found] == [what for _, what in local]


def test_a_batch_that_fails_in_validation(cli: CommandLine) -> None:
    write(cli, [line("a"), line("b", model="unknown")])
    done = cli("batches", "run", "in.jsonl", "--no-check", "--endpoint", "/v1/embeddings")
    assert done.code == 5
    assert json.loads(done.out)["status"] == "failed"
    assert "line 1: invalid_url: The URL provided for this request does not match the batch endpoint." in done.err
    assert "line 2: invalid_url:" in done.err


def test_case_45_official_commands(cli: CommandLine, server: Server) -> None:
    file_id = server.upload(encode(lines(2)), purpose="batch", name="in.jsonl")["id"]
    words = ("--completion-window", "24h", "--endpoint", CHAT, "--input-file-id", file_id)
    batch_id = cli("batches", "create", *words, "-r", "--transform", "id").out.strip()
    assert cli("batches", "wait", batch_id).code == 0
    assert json.loads(cli("batches", "retrieve", batch_id).out)["status"] == "completed"
    refused = cli("batches", "cancel", batch_id)
    assert (refused.code, "409" in refused.err) == (1, True)
    raw = cli("batches", "list", "--format", "raw", "--limit", "1")
    assert json.loads(raw.out)["data"][0]["id"] == batch_id
    assert json.loads(cli("batches", "list", "--max-items", "1", "--format", "jsonl").out)["id"] == batch_id


# --- while it runs --------------------------------------------------------------------------------------------------


@pytest.fixture
def held(server: Server, models: ThreadedModels) -> Iterator[Any]:
    """A batch of which four lines are done and the others hang."""
    models.server.script = lambda request: Fault.hang() if b"held" in request.body else None
    batch = create(server, [*lines(4), *(line(f"held-{n}", "held") for n in range(2))])
    wait(server, batch, lambda found: found["request_counts"]["completed"] == 4)
    yield batch
    if get(server, batch)["status"] not in ("completed", "cancelled"):
        server.client.post(f"/batches/{batch['id']}/cancel")
    wait(server, batch)


def test_results_so_far(cli: CommandLine, held: Any) -> None:
    done = cli("batches", "results", held["id"])
    assert (done.code, done.err) == (0, "")
    assert sorted(ids(map(json.loads, done.out.splitlines()))) == [f"line-{n}" for n in range(1, 5)]
    nothing = cli("batches", "results", held["id"], "--errors")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "")


@pytest.mark.parametrize("words", [(), ("-o", "r.jsonl")])
def test_results_are_followed_to_the_end(cli: CommandLine, server: Server, held: Any, words: tuple[str, ...]) -> None:
    with cli.start("batches", "results", held["id"], "--follow", *words) as process:
        if words:
            wait_until(lambda: number_of_lines(cli.folder / "r.jsonl") == 4, "the results so far are not written", 60)
        time.sleep(1)
        assert process.poll() is None
        server.client.post(f"/batches/{held['id']}/cancel")
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    written = (cli.folder / "r.jsonl").read_bytes() if words else out
    final = get(server, held)
    assert written == server.client.get(f"/files/{final['output_file_id']}/content").content


@pytest.mark.parametrize("ranges", [True, False])
def test_what_is_finished_while_it_is_followed_is_printed_once(
    cli: CommandLine, server: Server, models: ThreadedModels, ranges: bool
) -> None:
    released = threading.Event()
    models.server.script = lambda request: Fault.held(released) if b"slow" in request.body else None
    given = [*lines(4), *(line(f"slow-{n}", "slow") for n in range(3))]
    batch = create(server, given)
    wait(server, batch, lambda found: found["request_counts"]["completed"] == 4)
    with (
        Proxy(server.port, [] if ranges else [ProxyFault(strip=("range",))] * 50) as proxy,
        cli.start("batches", "results", batch["id"], "--follow", "--base-url", proxy.base_url) as process,
    ):

        def asked() -> list[str | None]:
            return [seen.headers.get("range") for seen in proxy.seen if seen.target.endswith("/output?wait=20")]

        try:
            wait_until(lambda: len(asked()) >= 2, "it does not wait for more", 60)
        finally:
            released.set()
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
    assert sorted(ids(map(json.loads, out.splitlines()))) == sorted(ids(given))
    first, second, *_ = asked()
    assert first is None and second is not None and second.startswith("bytes=")


def test_each_line_is_shown_as_it_comes(cli: CommandLine, server: Server, models: ThreadedModels) -> None:
    faults = {b"slow": Fault.slow(1.5), b"held": Fault.hang()}
    models.server.script = lambda request: next((fault for word, fault in faults.items() if word in request.body), None)
    batch = create(server, [*lines(4), line("slow", "slow"), line("held", "held")])
    with cli.start("batches", "results", batch["id"], "--follow", "-o", "r.jsonl") as process:
        written = cli.folder / "r.jsonl"
        deadline = time.monotonic() + 60
        while not written.exists() or b'"slow"' not in written.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert get(server, batch)["status"] == "in_progress"
        assert len(read(written)) == 5
        server.client.post(f"/batches/{batch['id']}/cancel")
        assert process.wait(SECONDS) == 0


def test_errors_are_followed_too(cli: CommandLine, server: Server, held: Any) -> None:
    with cli.start("batches", "results", held["id"], "--follow", "--errors") as process:
        time.sleep(1)
        server.client.post(f"/batches/{held['id']}/cancel")
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert sorted(ids(map(json.loads, out.splitlines()))) == ["held-0", "held-1"]


def test_ctrl_c_on_a_terminal_cancels_and_saves_both_files(cli: CommandLine, models: ThreadedModels) -> None:
    models.server.script = lambda request: Fault.hang() if b"held" in request.body else None
    write(cli, [*lines(4), line("held", "held")])
    screen, (keys, stdin) = Screen(columns=140), pty.openpty()
    with cli.start("batches", "run", "in.jsonl", stdin=stdin, stderr=screen.descriptor) as process:
        wait_for(screen, b"4 of 5 lines")
        process.send_signal(signal.SIGINT)
        wait_for(screen, b"[y/N] ")
        os.write(keys, b"y\n")
        out, _ = process.communicate(timeout=SECONDS)
    os.close(keys)
    os.close(stdin)
    assert process.returncode == 5
    assert screen.close().decode().endswith("was cancelled, with 4 of 5 lines done\n")
    assert json.loads(out)["status"] == "cancelled"
    assert len(read(cli.folder / "in_output.jsonl")) == 4
    assert ids(read(cli.folder / "in_error.jsonl")) == ["held"]


def wait_for(screen: Screen, text: bytes) -> None:
    deadline = time.monotonic() + 30
    while text not in screen.kept:
        assert time.monotonic() < deadline, screen.kept
        time.sleep(0.02)
