"""Batches that run to their end: states, counts, files, and lines to the letter."""

import json
import re
import threading
import time

import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import CHAT, counts, create, get, ids, line, lines, results, wait
from tests.support.model_server import Fault, Received
from tests.support.servers import Server

STAMPS = ("failed_at", "expired_at", "cancelling_at", "cancelled_at")


def text_of(received: Received) -> str:
    return str(received.json["messages"][-1]["content"])


def test_case_1_a_batch_completes(server: Server, models: ThreadedModels) -> None:
    created = create(server, lines(3), metadata={"a": "b"})
    assert created["status"] == "validating"
    assert counts(created) == (0, 0, 0)
    done = wait(server, created)
    assert done["status"] == "completed"
    assert counts(done) == (3, 3, 0)
    assert done["model"] == "m"
    assert done["error_file_id"] is None
    assert all(done[stamp] is None for stamp in STAMPS)
    stamps = [done[name] for name in ("created_at", "in_progress_at", "finalizing_at", "completed_at")]
    assert stamps == sorted(stamps)
    output, errors = results(server, done)
    assert errors == []
    assert sorted(ids(output)) == ["line-1", "line-2", "line-3"]
    for each in output:
        assert list(each) == ["id", "custom_id", "response", "error", "latency_ms"]
        assert 0 <= each["latency_ms"] < 10_000
        assert re.fullmatch("batch_req_[0-9a-f]{32}", each["id"])
        assert list(each["response"]) == ["status_code", "request_id", "body"]
        assert each["response"]["status_code"] == 200
        assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each["response"]["request_id"])
        assert each["error"] is None
        number = each["custom_id"].removeprefix("line-")
        assert each["response"]["body"]["choices"][0]["message"]["content"] == f"echo: text {number}"
    used = [each["response"]["body"]["usage"] for each in output]
    assert done["usage"]["input_tokens"] == sum(each["prompt_tokens"] for each in used)
    assert done["usage"]["output_tokens"] == sum(each["completion_tokens"] for each in used)
    assert done["usage"]["total_tokens"] == sum(each["total_tokens"] for each in used)
    keys = {received.headers["idempotency-key"] for received in models.server.requests}
    assert keys == {each["id"] for each in output}
    assert len(keys) == 3
    file = server.client.get(f"/files/{done['output_file_id']}").json()
    assert (file["purpose"], file["filename"]) == ("batch_output", f"{done['id']}_output.jsonl")
    assert 0 <= file["expires_at"] - file["created_at"] - 30 * 86_400 <= 1


def test_case_3_one_of_three_lines_is_refused(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.of_status(400, "no") if text_of(received) == "text 2" else None
    done = wait(server, create(server, lines(3)))
    assert (done["status"], counts(done)) == ("completed", (3, 2, 1))
    output, errors = results(server, done)
    assert sorted(ids(output)) == ["line-1", "line-3"]
    assert ids(errors) == ["line-2"]
    assert errors[0]["error"] is None
    assert errors[0]["response"]["status_code"] == 400
    assert errors[0]["response"]["body"]["error"]["message"] == "no"
    name = server.client.get(f"/files/{done['error_file_id']}").json()["filename"]
    assert name == f"{done['id']}_error.jsonl"


def test_case_4_all_lines_are_refused(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.of_status(400, "no")
    done = wait(server, create(server, lines(3)))
    assert (done["status"], counts(done), done["output_file_id"]) == ("completed", (3, 0, 3), None)
    assert len(results(server, done)[1]) == 3
    assert done["usage"]["total_tokens"] == 0


def test_case_15_several_models(server: Server) -> None:
    done = wait(server, create(server, [line("a", model="m"), line("b", model="n"), line("c", model="m")]))
    assert (done["status"], counts(done), done["model"]) == ("completed", (3, 3, 0), None)
    found = {each["custom_id"]: each["response"]["body"]["model"] for each in results(server, done)[0]}
    assert found == {"a": "m", "b": "n", "c": "m"}


def test_case_19_blank_lines_and_line_ends(server: Server) -> None:
    one, two, three = (json.dumps(each) for each in lines(3))
    content = f"{one}\r\n\n  \r\n{two}\n\n{three}".encode()
    done = wait(server, create(server, content))
    assert (done["status"], counts(done)) == ("completed", (3, 3, 0))
    assert sorted(ids(results(server, done)[0])) == ["line-1", "line-2", "line-3"]


def test_case_20_ids_are_returned_byte_for_byte(server: Server) -> None:
    wanted = ["👩‍🚀", "x" * 10_000, 'a "quoted" \\ id', "tab\tand\nnewline", " "]
    escaped = json.dumps(line("é")).replace("\\u00e9", "\\u00E9")
    done = wait(server, create(server, [*map(line, wanted), escaped]))
    assert (done["status"], counts(done)) == ("completed", (6, 6, 0))
    assert sorted(ids(results(server, done)[0])) == sorted([*wanted, "é"])
    raw = server.client.get(f"/files/{done['output_file_id']}/content").content
    assert b'"custom_id":"\\u00E9"' in raw


def test_case_38_the_input_is_deleted_after_create(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.slow(0.5)
    created = create(server, lines(20))
    assert server.client.delete(f"/files/{created['input_file_id']}").status_code == 200
    assert server.client.get(f"/files/{created['input_file_id']}").status_code == 404
    done = wait(server, created)
    assert (done["status"], counts(done)) == ("completed", (20, 20, 0))


def test_case_39_the_files_expire(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.of_status(400) if text_of(received) == "text 2" else None
    done = wait(server, create(server, lines(2), output_expires_after={"anchor": "created_at", "seconds": 3_600}))
    for file_id in (done["output_file_id"], done["error_file_id"]):
        file = server.client.get(f"/files/{file_id}").json()
        assert file["expires_at"] == file["created_at"] + 3_600


def test_case_41_results_are_read_while_it_runs(server: Server, models: ThreadedModels) -> None:
    released = {"text 59": threading.Event(), "text 60": threading.Event()}

    def spread(received: Received) -> Fault:
        text = text_of(received)
        return Fault.held(released[text]) if text in released else Fault.slow(0.3 + int(text.split()[1]) % 7 / 10)

    models.server.script = spread
    created = create(server, lines(60))
    parts: list[bytes] = []
    offset = 0
    while get(server, created)["status"] in {"validating", "in_progress"}:
        headers = {"Range": f"bytes={offset}-"}
        response = server.client.get(f"/batches/{created['id']}/output", headers=headers)
        if response.status_code in {200, 206} and response.content:
            assert response.content.endswith(b"\n"), "whole lines only"
            parts.append(response.content)
            offset += len(response.content)
            for event in list(released.values())[: len(parts)]:  # so that there are further parts, on any machine
                event.set()
        time.sleep(0.1)
    done = wait(server, created)
    assert len(parts) > 1
    file = server.client.get(f"/files/{done['output_file_id']}/content").content
    assert file.startswith(b"".join(parts)), "the file continues what was read"


@pytest.mark.parametrize("endpoint", ["/v1/responses", "/v1/completions", "/v1/embeddings"])
def test_other_endpoints(server: Server, endpoint: str) -> None:
    body = {"model": "m", "prompt" if endpoint == "/v1/completions" else "input": "some text to work on"}
    given = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
    done = wait(server, create(server, [given], endpoint=endpoint))
    assert (done["status"], counts(done)) == ("completed", (1, 1, 0))
    used = done["usage"]
    assert used["input_tokens"] == 5
    assert bool(used["output_tokens"]) is (endpoint != "/v1/embeddings")
    assert used["total_tokens"] == used["input_tokens"] + used["output_tokens"]


def test_bodies_are_sent_byte_for_byte(server: Server, models: ThreadedModels) -> None:
    body = (
        '{"model": "m",  "messages":[{"role":"user","content":"\\u00e9"}], "seed": 1.50, "x": 12345678901234567890123}'
    )
    given = f'{{"custom_id":"a","method":"POST","url":"{CHAT}","body":{body}}}'
    assert wait(server, create(server, [given]))["status"] == "completed"
    assert models.server.requests[0].body.decode() == body


def test_a_response_on_several_lines_is_one_line_of_the_file(server: Server, models: ThreadedModels) -> None:
    pretty = json.dumps({"id": "x", "note": "a\nb", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, indent=2)
    models.server.faults.append(Fault("status", 200, {}, pretty.encode()))
    done = wait(server, create(server, [line("a")]))
    (found,) = results(server, done)[0]
    assert found["response"]["body"] == json.loads(pretty)
    assert done["usage"]["total_tokens"] == 7


def test_a_line_whose_response_has_a_long_number_is_repeated(server: Server, models: ThreadedModels) -> None:
    """An integer of more than 4,300 digits, which Python does not read."""
    models.server.faults.append(Fault("status", 400, {}, b'{"n":%b}' % (b"9" * 5_000)))
    done = wait(server, create(server, lines(2)))
    assert counts(done) == (2, 1, 1)
    again = server.client.post(f"/batches/{done['id']}/retry")
    assert again.status_code == 200, again.text
    assert counts(wait(server, again.json())) == (1, 1, 0)
