"""Lines of requests and of results, to the letter."""

import json
import uuid

import pytest

from filestead.http_client.client import Response
from filestead.inference.exchanges import Exchange, Usage
from filestead.worker.batches.lines import (
    EXPIRED,
    batch_request_id,
    error_line,
    one_line_json,
    parse_request,
    response_line,
    usage_of,
)


def test_case_20_an_id_is_returned_byte_for_byte() -> None:
    for custom_id in (json.dumps("é😀" * 5_000), json.dumps('"quoted"\\'), '"é😀"', r'"\ud83d\ude00"', r'"\ud800"'):
        line = f'{{"custom_id": {custom_id}, "method":"POST","url":"/v1/x","body": {{"a": [1, 2]}} }}'.encode()
        found, body = parse_request(line)
        assert found == custom_id.encode()
        assert body == b'{"a": [1, 2]}', "the body is sent as it is"
        assert custom_id.encode() in error_line("batch_req_x", found, *EXPIRED)


def test_a_line_with_a_response() -> None:
    request_id = str(uuid.UUID(int=5))
    line = response_line("batch_req_1", b'"a"', 200, request_id, b' {"id": "x",\r\n "n": 1.50}\n', seconds=1.2346)
    assert line == (
        b'{"id":"batch_req_1","custom_id":"a","response":{"status_code":200,"request_id":'
        b'"00000000-0000-0000-0000-000000000005","body":{"id":"x","n":1.50}},"error":null,"latency_ms":1235}\n'
    )


def test_a_line_without_a_response() -> None:
    assert error_line("batch_req_1", b'"c"', *EXPIRED) == (
        b'{"id":"batch_req_1","custom_id":"c","response":null,"error":{"code":"batch_expired","message":'
        b'"This request could not be executed before the completion window expired."}}\n'
    )


def test_a_compact_body_is_not_touched() -> None:
    body = b'{"b":1, "a":"\\u00e9","c":1e400,"d":123456789012345678901234567890}'
    assert one_line_json(body) == body


def test_half_a_pair_of_surrogates_is_passed_on() -> None:
    line = rb'{"custom_id":"a","method":"POST","url":"/v1/x","body":{"text":"\ud83d!"}}'
    assert parse_request(line) == (b'"a"', rb'{"text":"\ud83d!"}')
    assert one_line_json(rb'{"text":"\ud83d!"}') == rb'{"text":"\ud83d!"}'
    assert one_line_json(b'{\n"text":\r\n"\\ud83d!"}') == rb'{ "text":  "\ud83d!"}'


@pytest.mark.parametrize("body", [b"<html>\nno\n</html>", b"", b'{"a":"\xff"}', b'{"a":1', b'{"a":"\n"}'])
def test_a_body_that_is_not_json_is_quoted(body: bytes) -> None:
    made = one_line_json(body)
    assert b"\n" not in made
    error = json.loads(made)["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"] == body.strip().decode(errors="replace")


def test_a_long_body_that_is_not_json_is_cut() -> None:
    assert len(json.loads(one_line_json(b"x" * 1_000_000))["error"]["message"]) == 1_000


def test_ids_depend_on_batch_and_line_alone() -> None:
    ids = {batch_request_id(batch, line) for batch in ("batch_a", "batch_b") for line in range(1, 100)}
    assert len(ids) == 198
    assert batch_request_id("batch_a", 1) in ids
    assert all(len(made) == 42 and made.startswith("batch_req_") for made in ids)


def test_usage() -> None:
    exchange = Exchange("ok", Response(200, {}, b"{}"), "", None, 0.1, Usage(input=10, output=5, cached=4, reasoning=2))
    assert usage_of(exchange) == (10, 4, 5, 2, 15)
