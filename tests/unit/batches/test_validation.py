"""The validation of batch files: each fault with its code, line, member and words, and what is not a fault."""

import json
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from filestead.decoders import DECODERS
from filestead.domain.batches import lines as line_reader
from filestead.domain.batches.model import BatchError
from filestead.domain.batches.validation import LineValidator, ValidationResult

CHAT, EMBEDDINGS, RESPONSES = "/v1/chat/completions", "/v1/embeddings", "/v1/responses"
MESSAGES = [{"role": "user", "content": "Hi"}]
ABSENT = object()


def request(custom_id: object = "a", **members: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": MESSAGES}
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | members
    return {name: value for name, value in line.items() if value is not ABSENT}


def body(**members: Any) -> dict[str, Any]:
    whole = {"model": "m", "messages": MESSAGES} | members
    return request(body={name: value for name, value in whole.items() if value is not ABSENT})


def data_of(*lines: dict[str, Any] | bytes) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def validate(
    data: bytes,
    *,
    endpoint: str = CHAT,
    single_model: bool = False,
    serves: Callable[[str], bool] = lambda model: True,
    block: int = 1 << 20,
) -> ValidationResult:
    validator = LineValidator(endpoint, DECODERS, single_model=single_model, serves=serves)
    for start in range(0, len(data), block):
        validator.feed(data[start : start + block])
    return validator.finish()


def errors_of(*lines: dict[str, Any] | bytes, **options: Any) -> list[BatchError]:
    return list(validate(data_of(*lines), **options).errors)


def missing(name: str, line: int = 1, param: str | None = None) -> BatchError:
    text = f"Missing required parameter: '{name}'."
    return BatchError("missing_required_parameter", text, line, param or name)


INVALID_JSON = "This line is not parseable as valid JSON."
WRONG_URL = "The URL provided for this request does not match the batch endpoint."
STREAMS = "Chat Completions: Streaming is not supported in the Batch API."


# --- no fault -------------------------------------------------------------------------------------------------------


def test_a_batch_without_faults_has_its_total_and_its_model() -> None:
    result = validate(data_of(request(), request("b"), request("c")))
    assert (list(result.errors), result.total, result.model, len(result.index)) == ([], 3, "m", 3)


@pytest.mark.parametrize("line", [
    request(note=1, body={"model": "m", "messages": MESSAGES, "temperature": 9, "unknown": {}}),
    body(stream=False), body(stream=None), body(messages=[]), body(messages="judged by the model server"),
    body(max_tokens=1.5), body(max_tokens="x"), body(tools={"api_base": 1}), body(metadata={"api_key": "x"}),
])  # fmt: skip
def test_what_else_a_line_or_body_says_is_judged_by_the_model_server(line: dict[str, Any]) -> None:
    assert errors_of(line) == []


def test_ends_of_lines_blank_lines_and_a_last_line_without_an_end_are_no_faults() -> None:
    good, other = (json.dumps(request(name)).encode() for name in "ab")
    data = b"\n\r\n \t\n" + good + b"\r\n\r\n  " + other + b" \r"
    for block in (1, 7, 1 << 20):
        result = validate(data, block=block)
        assert not result.errors and result.total == 2
        assert list(result.index.numbers) == [4, 6]
        for position, line in enumerate((good, other)):
            start = result.index.offsets[position]
            assert data[start : start + result.index.lengths[position]] == line


def test_numbers_of_faults_count_blank_lines() -> None:
    assert errors_of(request(), b"", b" \r", b"{") == [BatchError("invalid_json_line", INVALID_JSON, 4)]


@pytest.mark.parametrize("kept", [{}, {"stream": None, "max_tokens": 1.5}])
@pytest.mark.parametrize(("digits", "faults"), [(4_300, 0), (4_301, 1)])
def test_integers_are_as_long_as_an_upload_may_have_them(digits: int, faults: int, kept: dict[str, Any]) -> None:
    line = json.dumps(body(seed=1, text="9" * 5_000, **kept)).replace('"seed": 1', '"seed": ' + "9" * digits)
    assert errors_of(line.encode()) == [BatchError("invalid_json_line", INVALID_JSON, 1)] * faults


@pytest.mark.parametrize("custom_id", ['🦜 “é” \\ " \n' * 1250, "\ud83d", "\0", " "])
def test_a_custom_id_may_be_any_text(custom_id: str) -> None:
    assert errors_of(request(custom_id)) == []
    assert (
        errors_of(json.dumps(request(custom_id), ensure_ascii=custom_id.isascii() or "\ud83d" in custom_id).encode())
        == []
    )


@pytest.mark.parametrize("endpoint", ["/v1/moderations", "/v1/images/generations"])
def test_some_endpoints_need_no_model(endpoint: str) -> None:
    result = validate(data_of(request(url=endpoint, body={"input": "x"})), endpoint=endpoint)
    assert not result.errors and result.model is None


def test_a_response_may_name_a_stored_prompt_instead_of_a_model() -> None:
    line = request(url=RESPONSES, body={"prompt": {"id": "pmpt_1"}})
    assert errors_of(line, endpoint=RESPONSES) == []
    line = request(url=RESPONSES, body={"prompt": None})
    assert errors_of(line, endpoint=RESPONSES) == [missing("model", param="body.model")]


def test_several_models_are_allowed_unless_single_is_asked_for() -> None:
    data = data_of(body(), {**body(model="n"), "custom_id": "b"})
    result = validate(data)
    assert not result.errors and result.model is None and [result.index.model(n) for n in (0, 1)] == ["m", "n"]
    text = (
        "The model 'n' for this request does not match the rest of the batch. "
        "Each batch must contain requests for a single model."
    )
    assert list(validate(data, single_model=True).errors) == [BatchError("mismatched_model", text, 2, "body.model")]


# --- one fault ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "error"), [
    (b"{", BatchError("invalid_json_line", INVALID_JSON, 1)),
    (b'{"a": 1} {}', BatchError("invalid_json_line", INVALID_JSON, 1)),
    (b'{"a": NaN}', BatchError("invalid_json_line", INVALID_JSON, 1)),
    (b'{"custom_id": "\xff"}', BatchError("invalid_json_line", INVALID_JSON, 1)),
    (b'{"skipped": "\xc3"}', BatchError("invalid_json_line", INVALID_JSON, 1)),
    (b"[1]", BatchError("invalid_json_line", INVALID_JSON, 1)),
    (b"7", BatchError("invalid_json_line", INVALID_JSON, 1)),
    (b"[" * 100_000, BatchError("invalid_json_line", INVALID_JSON, 1)),
    (b'{"body":' + b"[" * 100_000, BatchError("invalid_json_line", INVALID_JSON, 1)),
    (b"\xef\xbb\xbf" + json.dumps(request()).encode(), BatchError("invalid_json_line", INVALID_JSON, 1)),
    (request(ABSENT), missing("custom_id")), (request(None), missing("custom_id")), (request(""), missing("custom_id")),
    (request(method=ABSENT), missing("method")), (request(url=ABSENT), missing("url")),
    (request(body=ABSENT), missing("body")), (request(body=None), missing("body")), ({}, missing("custom_id")),
    (request(7), BatchError("invalid_type", "Invalid type for 'custom_id': expected a string, but got an integer instead.", 1, "custom_id")),
    (request([]), BatchError("invalid_type", "Invalid type for 'custom_id': expected a string, but got an array instead.", 1, "custom_id")),
    (request(url={}), BatchError("invalid_type", "Invalid type for 'url': expected a string, but got an object instead.", 1, "url")),
    (request(body=[1]), BatchError("invalid_type", "Invalid type for 'body': expected an object, but got an array instead.", 1, "body")),
    (request(body="x"), BatchError("invalid_type", "Invalid type for 'body': expected an object, but got a string instead.", 1, "body")),
    (request(method="GET"), BatchError("invalid_value", "Invalid value: 'GET'. Supported values are: 'POST'.", 1, "method")),
    (request(url=EMBEDDINGS), BatchError("invalid_url", WRONG_URL, 1, "url")),
    (request(url="https://api.openai.com/v1/chat/completions"), BatchError("invalid_url", WRONG_URL, 1, "url")),
    (body(model=ABSENT), missing("model", param="body.model")), (body(model=""), missing("model", param="body.model")),
    (body(model=5), BatchError("invalid_type", "Invalid type for 'body.model': expected a string, but got an integer instead.", 1, "body.model")),
    (body(model="x"), BatchError("model_not_found", "The provided model 'x' is not supported by the Batch API.", 1, "body.model")),
    (body(messages=ABSENT), missing("messages", param="body.messages")),
    (body(messages=None), missing("messages", param="body.messages")),
    (body(stream=True), BatchError("streaming_unsupported", STREAMS, 1, "body.stream")),
    (body(stream="true"), BatchError("streaming_unsupported", STREAMS, 1, "body.stream")),
    (body(stream=1), BatchError("streaming_unsupported", STREAMS, 1, "body.stream")),
])  # fmt: skip
def test_each_fault_has_its_code_line_param_and_words(line: dict[str, Any] | bytes, error: BatchError) -> None:
    assert errors_of(line, serves=lambda model: model != "x") == [error]


@pytest.mark.parametrize("name", ["api_base", "api_key", "base_url"])
@pytest.mark.parametrize("extra", [{}, {"max_tokens": 1.5}])
@pytest.mark.parametrize("value", ["http://127.0.0.1", None])
def test_a_body_can_name_neither_host_nor_key(name: str, extra: dict[str, Any], value: object) -> None:
    text = f"Unknown parameter: '{name}'. A request of a batch cannot choose its server or its key."
    assert errors_of(body(**{name: value}, **extra)) == [BatchError("unknown_parameter", text, 1, f"body.{name}")]


def test_escapes_hide_no_member() -> None:
    line = json.dumps(body(stream=True, api_key="x")).encode()
    assert errors_of(line.replace(b"stream", b"str\\u0065am").replace(b"api_key", b"api\\u005fkey"))


@pytest.mark.parametrize(("line", "code"), [
    ({"url": "x", "body": {}}, "missing_required_parameter"),
    ({"custom_id": "b", "method": "GET", "url": "x", "body": {}}, "invalid_value"),
    ({"custom_id": "a", "method": "POST", "url": "x", "body": {}}, "invalid_url"),
    ({"custom_id": "a", "method": "POST", "url": CHAT, "body": {}}, "duplicate_custom_id"),
    ({"custom_id": "b", "method": "POST", "url": CHAT, "body": {"stream": True, "api_key": 1}}, "missing_required_parameter"),
    ({"custom_id": "b", "method": "POST", "url": CHAT, "body": {"model": "x", "stream": True, "api_key": 1}}, "model_not_found"),
    ({"custom_id": "b", "method": "POST", "url": CHAT, "body": {"model": "m", "stream": True, "api_key": 1}}, "missing_required_parameter"),
    ({"custom_id": "b", "method": "POST", "url": CHAT, "body": {"model": "m", "messages": [], "stream": True, "api_key": 1}}, "unknown_parameter"),
])  # fmt: skip
def test_a_line_has_its_first_fault(line: dict[str, Any], code: str) -> None:
    errors = errors_of(request(), line, serves=lambda model: model != "x")
    assert [(error.code, error.line) for error in errors] == [(code, 2)]


def test_all_faulty_lines_are_reported_in_order() -> None:
    lines = [request(ABSENT), request(method=ABSENT), request(url=ABSENT), request(body=ABSENT)]
    names = ("custom_id", "method", "url", "body")
    assert errors_of(*lines) == [missing(name, number) for number, name in enumerate(names, 1)]


def test_the_words_for_streams_name_the_endpoint() -> None:
    line = request(url=RESPONSES, body={"model": "m", "stream": True})
    assert errors_of(line, endpoint=RESPONSES)[0].message == "Responses: Streaming is not supported in the Batch API."


# --- the whole file -------------------------------------------------------------------------------------------------


def test_a_duplicate_is_found_over_50_000_lines() -> None:
    ids = ["a", *map(str, range(49_998)), "a"]
    text = (
        "The custom_id 'a' for this request is a duplicate of another request. "
        "The custom_id parameter must be unique for each request in a batch."
    )
    result = validate(data_of(*map(request, ids)))
    assert list(result.errors) == [BatchError("duplicate_custom_id", text, 50_000, "custom_id")]


def test_a_long_custom_id_is_shortened_in_the_message() -> None:
    message = errors_of(request("🦜" * 10_000), request("🦜" * 10_000))[0].message
    assert f"'{'🦜' * 512}...'" in message


@pytest.mark.parametrize("faulty", [False, True])
def test_more_than_50_000_lines_are_one_entry(faulty: bool) -> None:
    line = b"{}" if faulty else None
    errors = errors_of(*(line or request(str(n)) for n in range(50_001)))
    text = "The batch input file has more than the maximum of 50000 requests. Please try again with a smaller batch."
    assert errors == [BatchError("too_many_requests_in_batch", text)]


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t\n" * 1000, b" "])
def test_a_file_without_a_line_is_empty(data: bytes) -> None:
    text = "The input file is empty. Please ensure that the batch contains at least one request."
    result = validate(data)
    assert (list(result.errors), result.total) == ([BatchError("empty_file", text)], 0)


def test_a_file_over_200_mib_is_one_entry_that_names_the_model() -> None:
    validator = LineValidator(CHAT, DECODERS, serves=lambda model: True)
    validator.feed(data_of(body(model="gpt-4o")))
    size = 209_715_200 - len(data_of(body(model="gpt-4o")))
    for start in range(0, size, 1 << 20):
        validator.feed(b"\n" * min(1 << 20, size - start))
    assert not validator.complete
    validator.feed(b"\n")
    assert validator.complete
    text = (
        "The batch input file is larger than the 209715200 maximum for the gpt-4o model. "
        "Please try again with a smaller batch."
    )
    assert list(validator.finish().errors) == [BatchError("invalid_request", text)]


@pytest.mark.parametrize(("more", "text"), [
    (0, None), (1, "1 more line has a fault. The first 1000 are listed."), (9, "9 more lines have faults. The first 1000 are listed."),
])  # fmt: skip
def test_after_a_thousand_entries_one_says_how_many_more(more: int, text: str | None) -> None:
    errors = errors_of(request(), *[b"{}"] * (1000 + more))
    assert errors[:1000] == [missing("custom_id", number) for number in range(2, 1002)]
    assert errors[1000:] == ([] if text is None else [BatchError("too_many_errors", text)])


def test_a_line_that_is_too_long_is_a_fault_and_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_reader, "MAX_LINE", 1000)
    long = json.dumps(request("b", note="x" * 2000)).encode()
    for block in (100, 1500, 1 << 20):
        errors = list(validate(data_of(request(), long, b"{}", long), block=block).errors)
        assert [(error.code, error.line) for error in errors] == [
            ("request_too_large", 2), ("missing_required_parameter", 3), ("request_too_large", 4),
        ]  # fmt: skip


def test_blocks_of_any_size_give_the_same_result() -> None:
    words = random.Random(3)
    lines: list[Any] = [request(str(n), note="é🦜" * words.randrange(50)) for n in range(200)]
    lines[50], lines[90], lines[120] = b"", b"{", b"  " + json.dumps(request("0")).encode() + b"\r"
    data = data_of(*lines)
    whole = validate(data)
    assert [(error.code, error.line) for error in whole.errors] == [
        ("invalid_json_line", 91), ("duplicate_custom_id", 121),
    ]  # fmt: skip
    for block in (1, 2, 63, 1000):
        assert validate(data, block=block).errors == whole.errors


def test_the_index_takes_about_64_bytes_a_line_and_the_rest_is_bounded() -> None:
    data = data_of(*(request(str(n)) for n in range(10_000)))
    tracemalloc.start()
    result = validate(data)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(result.index) == 10_000
    assert held < 10_000 * 75
    assert peak < 6_000_000
