"""Schemathesis, a fuzzer that reads our description, against a running server: every check, every phase."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filestead.domain.batches.model import BatchStatus
from tests.support.batch_worker import BatchWorker, input_of
from tests.support.servers import Server, run_command

ROOT = Path(__file__).parents[2]
EXAMPLES = 60
SEED = 20_261_122  # FUZZ_SEED and FUZZ_EXAMPLES try others

# Every check is on. What is set apart from the defaults:
# - downloadFile, and reading results of a batch, may refuse a well-formed Range: it depends on the file whether it lies within (416), and a well-formed
#   If-Match, which may name other content (412).
# - A file to attach may be unknown, an attached one may be detached: then a 404 does not say that the vector store is gone.
# - Error feedback is off: it learns from the texts of refusals, and what is generated would hang on their wording.
# - Inputs may be made slowly: that says how busy the machine is.
# Two keys of two projects are peers, so that object_level_authorization can try one on the files of the other.
CONFIG = """
hooks = "tests.e2e.fuzz_hooks"
continue-on-failure = true
suppress-health-check = ["too_slow"]

[cache]
enabled = false

[auth.wfc]
path = "keys.json"
peers = ["one", "two"]

[generation]
database = "none"

[phases.coverage]
generate-duplicate-query-parameters = true
unexpected-methods = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "QUERY", "TRACE"]

[phases.fuzzing]
error-feedback.enabled = false

[[operations]]
include-operation-id = ["downloadFile", "readBatchOutput", "readBatchErrors"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", 401, 404, 412, 416]

[[operations]]
include-operation-id = [
    "createVectorStoreFile",
    "createVectorStoreFileBatch",
    "updateVectorStoreFileAttributes",
    "retrieveVectorStoreFileContent",
]
checks.ensure_resource_availability.enabled = false
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes batches; no model server runs them."""
    folder = tmp_path_factory.mktemp("fuzzed") / "data"
    limits = {"uploads_per_minute": 0, "batches_per_hour": 0}
    with Server(folder, upstream_url="http://127.0.0.1:9/v1", pass_through="off", **limits) as running:
        yield running


def create_batches(server: Server) -> tuple[str, str]:
    """The ids of a batch that goes on, and of one that was cancelled, so that it can be repeated."""
    file = server.upload(input_of("a", "b"), purpose="batch", name="in.jsonl")["id"]
    form = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    going, cancelled = (server.client.post("/batches", json=form).json()["id"] for _ in range(2))
    server.client.post(f"/batches/{cancelled}/cancel")
    deadline = time.monotonic() + 30
    with BatchWorker.of(server) as worker:
        while server.client.get(f"/batches/{cancelled}").json()["status"] != BatchStatus.CANCELLED:
            assert time.monotonic() < deadline
            with contextlib.suppress(ValueError):  # the server has it
                worker.finish(worker.claim(cancelled))
            time.sleep(0.1)
    return going, cancelled


def create_key(server: Server, *owner: str) -> str:
    """A key that may use every operation."""
    scopes = [word for scope in ("files:read", "files:write", "admin", "metrics") for word in ("--scope", scope)]
    return run_command(server.data_dir, "keys", "create", *owner, *scopes).stdout.strip()


@pytest.fixture(scope="module")
def run(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """The fuzzer's report, and what it printed. It runs in a folder of its own and leaves its files there."""
    folder = tmp_path_factory.mktemp("fuzz")
    one = create_key(server, "--project", "default")
    keys = {"one": one, "two": create_key(server, "--organization", "other", "--project", "other")}
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}]}
        for name, key in keys.items()
    ]
    (folder / "keys.json").write_text(json.dumps({"auth": users}))
    (folder / "schemathesis.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.origin}/openapi.json", "--no-color"]
    command += [
        "--seed",
        os.environ.get("FUZZ_SEED", str(SEED)),
        "--max-examples",
        os.environ.get("FUZZ_EXAMPLES", str(EXAMPLES)),
        "--report",
        "json",
        "--report-json-path",
        "report",
    ]
    files = [server.upload(b"words for a vector store", name=f"{number}.txt")["id"] for number in range(8)]
    store = server.client.post("/vector_stores", json={"file_ids": files}).json()["id"]
    going, cancelled = create_batches(server)
    authorized = {"authorization": f"Bearer {one}"}
    project = server.client.get("/organization/projects", headers=authorized).json()["data"][0]["id"]
    api_keys = f"/organization/projects/{project}/api_keys"
    valid_keys = server.client.get(api_keys, headers=authorized).json()["data"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "FUZZ_FILE_IDS": json.dumps(files),
        "FUZZ_STORE_ID": store,
        "FUZZ_BATCH_ID": going,
        "FUZZ_CANCELLED_BATCH_ID": cancelled,
        "FUZZ_ORIGIN": server.origin,
        "FUZZ_KEY": f"Bearer {server.key}",
        "FUZZ_PROJECT_ID": project,
        "FUZZ_KEY_IDS": json.dumps([key["id"] for key in valid_keys]),
        "FUZZ_ACCOUNT_IDS": json.dumps([key["owner"]["service_account"]["id"] for key in valid_keys]),
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert (folder / "report").exists(), done.stdout + done.stderr
    return json.loads((folder / "report").read_text()), done.stdout


def test_nothing_is_found(run: tuple[Any, str]) -> None:
    report, printed = run
    assert (report["failures"], report["errors"], report["exit_code"]) == ([], [], 0), printed


def test_everything_was_tried(run: tuple[Any, str]) -> None:
    report, printed = run
    assert report["complete"], printed
    assert report["operations"]["tested"] == report["operations"]["total"] == 53  # it leaves /openapi.json out itself
    phases = {name: phase["status"] for name, phase in report["phases"].items()}
    assert phases == {"examples": "skip", "coverage": "success", "fuzzing": "success", "stateful": "success"}
    assert report["test_cases"]["generated"] > 500
    # A fuzzer that only ever meets refusals tests little: most valid requests must get through.
    for operation, phases in report["valid_rates"].items():
        method, path = operation.split()
        if method != "DELETE" and path.startswith("/v1/"):
            # A conflict has reached the operation, too: many batches have ended before they are cancelled.
            fuzzing = phases["fuzzing"]
            assert fuzzing["accepted"] >= 3, (operation, phases)
            # An operation without parameters beside its id has few distinct valid requests.
            missed = fuzzing["rejected"] + fuzzing["unreachable"]
            assert fuzzing["accepted"] + fuzzing["conflicts"] >= (10 if missed else 3), (operation, phases)


def test_the_server_is_well_afterwards(server: Server, run: tuple[Any, str]) -> None:
    assert server.process.poll() is None
    assert "Traceback" not in server.output
    file = server.upload(b"after")
    assert server.client.get(f"/files/{file['id']}/content").content == b"after"
    verified = run_command(server.data_dir, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
