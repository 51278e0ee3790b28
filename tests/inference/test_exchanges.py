"""The classification of responses, usage, `retry-after`, and metrics."""

import json

import pytest

from filestead.http_client.connections import Response
from filestead.http_client.errors import EndpointBroken, EndpointTimeout, EndpointUnreachable
from filestead.inference.exchanges import MAX_TOKENS, Usage, of_failure, of_response, retry_after_of, usage_of
from filestead.inference.limiter import Load
from filestead.inference.metrics import load_of

VLLM_404 = (
    b'{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}'
)
HOSTED_404 = (
    b'{"error":{"message":"No such thing","type":"invalid_request_error","param":null,"code":"model_not_found"}}'
)
OLLAMA_404 = b'{"error":{"message":"model \\"x\\" not found, try pulling it first","type":"api_error"}}'


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"{}", "ok"),
        (201, b' {"a": [1]} ', "ok"),
        (200, rb'{"a": "\ud83d"}', "ok"),
        (200, b"", "retry"),
        (200, b"[]", "retry"),
        (200, b'{"a":', "retry"),
        (200, b"{} {}", "retry"),
        (200, b"<html>", "retry"),
        (200, b'{"a": "\xff"}', "retry"),
        (200, b"[" * 100_000, "retry"),
        (200, b'{"a":' * 100_000, "retry"),
        (400, b"{}", "final"),
        (402, b"", "final"),
        (404, b'{"detail":"Not Found"}', "final"),
        (404, VLLM_404, "refused"),
        (404, HOSTED_404, "refused"),
        (404, OLLAMA_404, "refused"),
        (401, b"", "refused"),
        (403, b"", "refused"),
        (301, b"", "refused"),
        (307, b"", "refused"),
        (408, b"", "timeout"),
        (409, b"", "final"),
        (413, b"", "final"),
        (422, b"", "final"),
        (429, b"", "busy"),
        (503, b"", "busy"),
        (529, b"", "busy"),
        (500, b"", "retry"),
        (501, b"", "retry"),
        (502, b"", "retry"),
        (504, b"", "retry"),
        (599, b"", "retry"),
    ],
)
def test_every_kind_of_response(status: int, body: bytes, kind: str) -> None:
    response = Response(status, {}, body)
    exchange = of_response(response, 1.5)
    assert (exchange.kind, exchange.response, exchange.seconds) == (kind, response, 1.5)
    assert (exchange.detail == "") == (kind == "ok")


def test_every_kind_of_failure() -> None:
    assert of_failure(EndpointUnreachable("x"), 1).kind == "unreachable"
    assert of_failure(EndpointTimeout("x"), 1).kind == "timeout"
    broken = of_failure(EndpointBroken("x"), 1)
    assert (broken.kind, broken.detail, broken.response) == ("retry", "x", None)


CHAT = {
    "prompt_tokens": 9,
    "completion_tokens": 12,
    "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3, "accepted_prediction_tokens": 0},
}
RESPONSES = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 3},
}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (CHAT, Usage(9, 12, 4, 3)),
        (RESPONSES, Usage(9, 12, 4, 3)),
        ({"prompt_tokens": 9, "total_tokens": 9}, Usage(9)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": None}, Usage(9, 1)),
        ({}, Usage()),
        (None, Usage()),
        ("many", Usage()),
        ({"prompt_tokens": "9"}, Usage()),
        ({"prompt_tokens": -9, "completion_tokens": -1}, Usage()),
        ({"prompt_tokens": 2**63 - 1, "completion_tokens": 10**30}, Usage(MAX_TOKENS, MAX_TOKENS)),
    ],
)
def test_usage(usage: object, expected: Usage) -> None:
    assert usage_of(json.dumps({"id": "x", "usage": usage, "choices": [{"text": "é"}]}).encode()) == expected
    assert usage_of(b'{"id":"x"}') == Usage()


def test_usage_beside_half_a_pair() -> None:
    assert usage_of(rb'{"text":"\ud83d","usage":{"prompt_tokens":3}}') == Usage(3)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "1000000"}, 3600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 01 Jan 2031 00:00:00 +9999999999999"}, None),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_of(headers, 1_800_000_000.0) == seconds


def test_metrics_of_vllm() -> None:
    text = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a"} 7.0
vllm:num_requests_running{engine="1",model_name="a {} \\"x\\""} 5.0
vllm:num_requests_waiting{engine="0",model_name="a"} 2.0
vllm:num_requests_waiting_by_reason{engine="0"} 90.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 9.7e-1
"""
    assert load_of(text) == Load(running=12.0, waiting=2.0, cache=0.97, server="vllm")


def test_metrics_of_others() -> None:
    assert load_of("llamacpp:requests_processing 4\nllamacpp:requests_deferred 3\n") == Load(
        4.0, 3.0, None, server="llamacpp"
    )
    assert load_of('sglang:num_running_reqs{a="b"} 1.0\nsglang:num_queue_reqs 0\nsglang:token_usage 0.5') == Load(
        1.0, 0.0, 0.5, server="sglang"
    )
    assert load_of("process_cpu_seconds_total 3\n") is None
    assert load_of("vllm:num_requests_running NaN\nvllm:num_requests_waiting -e-\n") is None
    assert load_of("") is None
