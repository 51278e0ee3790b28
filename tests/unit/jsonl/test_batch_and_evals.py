"""Batch requests and eval items, rule by rule; and the faults of members, as a user reads them."""

from functools import partial
from typing import Any

import pytest

from filestead.decoders import DECODERS
from filestead.domain.jsonl.batch import BATCH_ENDPOINTS, BatchLines
from filestead.domain.jsonl.evals import EvalsLines
from filestead.domain.jsonl.kinds import ContentCheck
from filestead.domain.jsonl.members import LineFault, shown
from tests.unit.jsonl import verdicts

MISSING = object()


def request(custom_id: str = "a", **members: Any) -> dict[str, Any]:
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/responses", "body": {"model": "m"}} | members
    return {name: value for name, value in line.items() if value is not MISSING}


def batch_fault(*lines: dict[str, Any]) -> str | None:
    return verdicts.fault_of(ContentCheck.BATCH, BatchLines, *lines)


def hosted_fault(*lines: dict[str, Any]) -> str | None:
    return verdicts.fault_of(ContentCheck.BATCH, partial(BatchLines, hosted=True), *lines, hosted=True)


def evals_fault(*lines: dict[str, Any]) -> str | None:
    return verdicts.fault_of(ContentCheck.EVALS, EvalsLines, *lines)


@pytest.mark.parametrize("url", BATCH_ENDPOINTS)
def test_batch_requests_may_go_to_every_endpoint(url: str) -> None:
    assert hosted_fault(request(url=url), request("b", url=url)) is None


def test_the_endpoints_are_the_published_ones() -> None:
    assert len(BATCH_ENDPOINTS) == len(set(BATCH_ENDPOINTS)) == 8


@pytest.mark.parametrize("body", [{"model": "m"}, {"model": "m", "input": [1, None]}])
def test_batch_requests_may_have_more_members(body: dict[str, Any]) -> None:
    assert hosted_fault(request(body=body, note={"a": 1}, priority=None)) is None


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"custom_id": MISSING}, "'custom_id' is missing"),
        ({"custom_id": None}, "'custom_id' is null; expected a non-empty string"),
        ({"custom_id": 7}, "'custom_id' is a number; expected a non-empty string"),
        ({"custom_id": ""}, "'custom_id' is an empty string; expected a non-empty string"),
        ({"method": MISSING}, "'method' is missing"),
        ({"method": "GET"}, "'method' is 'GET'; expected 'POST'"),
        ({"method": "post"}, "'method' is 'post'; expected 'POST'"),
        ({"url": MISSING}, "'url' is missing"),
        ({"url": ["/v1/responses"]}, "'url' is a list; expected one of "),
        ({"url": "/v1/files"}, "'url' is '/v1/files'; expected one of '/v1/responses', '/v1/chat/completions', "),
        ({"url": "/v1/responses/"}, "'url' is '/v1/responses/'; expected one of "),
        ({"body": MISSING}, "'body' is missing"),
        ({"body": "{}"}, "'body' is '{}'; expected an object"),
        ({"body": {}}, "'body.model' is missing"),
        ({"body": {"model": ""}}, "'body.model' is an empty string; expected a non-empty string"),
        ({"body": {"model": 4.1}}, "'body.model' is a number; expected a non-empty string"),
    ],
)
def test_batch_requests_have_faults(members: dict[str, Any], fault: str) -> None:
    assert str(hosted_fault(request(**members))).startswith(fault)


def test_a_batch_uses_each_id_once() -> None:
    assert hosted_fault(request("a"), request("b"), request("A"), request("a ")) is None
    expected = "'custom_id' is 'b', as in line 2; expected one of its own"
    assert hosted_fault(request("a"), request("b"), request("c"), request("b")) == expected


def test_the_id_of_a_faulty_request_is_used_too() -> None:
    checks = BatchLines(DECODERS, hosted=True)
    with pytest.raises(LineFault):
        checks.check(1, request(method="GET"))
    with pytest.raises(LineFault, match="as in line 1"):
        checks.check(9, request())


def test_a_batch_names_one_endpoint_and_one_model() -> None:
    expected = "'url' is '/v1/embeddings'; expected '/v1/responses', as in the lines before"
    assert hosted_fault(request("a"), request("b", url="/v1/embeddings")) == expected
    expected = "'body.model' is 'n'; expected 'm', as in the lines before"
    assert hosted_fault(request("a"), request("b", body={"model": "n"})) == expected


def test_a_faulty_request_does_not_set_the_model_of_the_batch() -> None:
    checks = BatchLines(DECODERS, hosted=True)
    with pytest.raises(LineFault):
        checks.check(1, request("a", body={"model": "n"}, method="GET"))
    checks.check(2, request("b"))
    with pytest.raises(LineFault, match="expected 'm'"):
        checks.check(3, request("c", body={"model": "n"}))


# --- what some server could run --------------------------------------------------------------------------------------

CHAT = "/v1/chat/completions"
PATH = "expected a path such as '/v1/chat/completions'"


@pytest.mark.parametrize(
    ("url", "body"),
    [
        *((url, {"model": "m"}) for url in BATCH_ENDPOINTS),
        ("/v1/score", {"model": "m", "text_1": "a", "text_2": "b"}),
        ("/v1/rerank", {"query": "a", "documents": []}),
        ("/v1/audio/transcriptions", {"file": "a"}),
        ("/v1/audio/speech", {"model": "m", "input": "a"}),
        ("/v1/moderations", {"input": "a"}),
        ("/v1/moderations", {"input": "a", "model": None}),
        ("/v1/images/generations", {"prompt": "a"}),
        ("/v1/responses", {"prompt": {"id": "pmpt_1"}}),
        ("/v1/responses", {"prompt": "pmpt_1", "model": None}),
        ("/v1/models/m.v1:predict", {}),
        ("/v1/files", {}),
        (CHAT, {"model": "m", "stream": False}),
        (CHAT, {"model": "m", "stream": None}),
    ],
)
def test_requests_that_some_server_could_run(url: str, body: dict[str, Any]) -> None:
    assert batch_fault(request(url=url, body=body), request("b", url=url, body=body)) is None


@pytest.mark.parametrize(
    ("url", "body", "fault"),
    [
        (CHAT, {}, "'body.model' is missing"),
        (CHAT, {"prompt": "p"}, "'body.model' is missing"),
        ("/v1/completions", {"prompt": "p"}, "'body.model' is missing"),
        ("/v1/embeddings", {"model": ""}, "'body.model' is an empty string; expected a non-empty string"),
        ("/v1/responses", {"input": "a"}, "'body.model' is missing"),
        ("/v1/responses", {"prompt": None}, "'body.model' is missing"),
        ("/v1/score", {"model": 7}, "'body.model' is a number; expected a non-empty string"),
        (CHAT, {"model": "m", "stream": True}, "'body.stream' is true; expected false, since no batch can stream"),
        ("/v1/score", {"stream": True}, "'body.stream' is true; expected false, since no batch can stream"),
        ("/v1/score", [], "'body' is an empty list; expected an object"),
        ("/v1/responses/", {"model": "m"}, f"'url' is '/v1/responses/'; {PATH}"),
        ("/v2/responses", {"model": "m"}, f"'url' is '/v2/responses'; {PATH}"),
        ("/v1", {"model": "m"}, f"'url' is '/v1'; {PATH}"),
        ("/v1/", {"model": "m"}, f"'url' is '/v1/'; {PATH}"),
        ("v1/responses", {"model": "m"}, f"'url' is 'v1/responses'; {PATH}"),
        ("http://a/v1/responses", {"model": "m"}, f"'url' is 'http://a/v1/responses'; {PATH}"),
        ("/v1//responses", {"model": "m"}, f"'url' is '/v1//responses'; {PATH}"),
        ("/v1/../admin", {"model": "m"}, f"'url' is '/v1/../admin'; {PATH}"),
        ("/v1/./score", {"model": "m"}, f"'url' is '/v1/./score'; {PATH}"),
        ("/v1/score/..", {"model": "m"}, f"'url' is '/v1/score/..'; {PATH}"),
        ("/v1/%2e%2e/admin", {"model": "m"}, f"'url' is '/v1/%2e%2e/admin'; {PATH}"),
        ("/v1/score?a=b", {"model": "m"}, f"'url' is '/v1/score?a=b'; {PATH}"),
        ("/v1/score#a", {"model": "m"}, f"'url' is '/v1/score#a'; {PATH}"),
        ("/v1/a b", {"model": "m"}, f"'url' is '/v1/a b'; {PATH}"),
        ("/v1/score\n", {"model": "m"}, f"'url' is '/v1/score\\n'; {PATH}"),
        ("/v1/\\score", {"model": "m"}, f"'url' is '/v1/\\\\score'; {PATH}"),
        (None, {"model": "m"}, f"'url' is null; {PATH}"),
    ],
)
def test_requests_that_no_server_could_run(url: str | None, body: Any, fault: str) -> None:
    assert batch_fault(request(url=url, body=body)) == fault


def test_a_batch_may_use_several_models_and_one_endpoint() -> None:
    assert batch_fault(request("a"), request("b", body={"model": "n"}), request("c")) is None
    expected = "'url' is '/v1/score'; expected '/v1/responses', as in the lines before"
    assert batch_fault(request("a"), request("b", url="/v1/score")) == expected


@pytest.mark.parametrize(
    ("url", "body", "fault"),
    [
        ("/v1/score", {"model": "m"}, "'url' is '/v1/score'; expected one of '/v1/responses', "),
        ("/v1/moderations", {}, "'body.model' is missing"),
        ("/v1/responses", {"prompt": {"id": "p"}}, "'body.model' is missing"),
        (CHAT, {"model": "m", "stream": True}, "'body.stream' is true; "),
    ],
)
def test_parity_with_the_hosted_runner_is_narrower(url: str, body: dict[str, Any], fault: str) -> None:
    assert str(hosted_fault(request(url=url, body=body))).startswith(fault)


@pytest.mark.parametrize("line", [{"item": {}}, {"item": {"a": 1}, "sample": {}}, {"item": {}, "sample": None, "x": 1}])
def test_eval_items_are_well_formed(line: dict[str, Any]) -> None:
    assert evals_fault(line) is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({}, "'item' is missing"),
        ({"item": None}, "'item' is null; expected an object"),
        ({"item": []}, "'item' is an empty list; expected an object"),
        ({"item": {}, "sample": "text"}, "'sample' is 'text'; expected an object"),
        ({"item": {}, "sample": False}, "'sample' is false; expected an object"),
    ],
)
def test_eval_items_have_faults(line: dict[str, Any], fault: str) -> None:
    assert evals_fault(line) == fault


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 40, "'" + "x" * 40 + "'"),
        ("x" * 41, "'" + "x" * 37 + "...'"),
        ("it's" + "x" * 99, "\"it's" + "x" * 33 + '..."'),
        ("\x00" * 50, "'" + "\\x00" * 9 + "\\..." + "'"),
        ("\n", "'\\n'"),
        ("\ud800", "'\\ud800'"),
        ("", "an empty string"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "a number"),
        (1, "a number"),
        (1.5, "a number"),
        ([0], "a list"),
        ([], "an empty list"),
        ({}, "an object"),
    ],
)
def test_a_users_value_is_shown_short_and_printable(value: object, text: str) -> None:
    assert shown(value) == text
    assert text.isprintable()


def test_a_number_is_named_not_written_out() -> None:
    assert shown(10**5000) == "a number"
