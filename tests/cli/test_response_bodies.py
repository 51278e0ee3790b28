"""Bodies of responses that are not as they should be, as the official command line treats them."""

import pytest

from filestead.cli.client.formats.json_text import member_text
from filestead.cli.main import run
from tests.cli.stub import Stub

FORMATS = ("auto", "json", "jsonl", "pretty", "raw", "yaml")
BROKEN = '{"error": {"message": "x"'


@pytest.fixture
def stub_address(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """The stub, whose address commands of this process know."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{stub.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    return stub


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("words", ["files retrieve f", "files list", "files delete f", "vector-stores create"])
def test_a_body_with_less_than_announced_fails_and_is_not_asked_for_again(
    stub_address: Stub, capfd: pytest.CaptureFixture[str], format_: str, words: str
) -> None:
    stub_address.responses, stub_address.missing = [(200, '{"id":"file-1","data":[{}]}')] * 3, 10
    assert run([*words.split(), "--format", format_]) == 1
    assert capfd.readouterr().out == ""
    assert len(stub_address.requests) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "format_", "wanted"),
    [
        (BROKEN, "", "auto", '{\n  "message": "x"\n'),
        (BROKEN, "", "jsonl", '{"message":"x"\n'),
        (BROKEN, "", "raw", '{"message": "x"\n'),
        (BROKEN, "", "yaml", ""),
        ('{"error": [1, [2', "", "json", "[1, [2\n"),
        ('{"error": {"a": [{"b": 1', "", "json", '{\n  "a": [\n    {\n      "b": 1\n'),
        ('{"error": nope}', "", "yaml", ""),
        ('{"error": nope}', "", "json", "nope\n"),
        ('{ "error" : { "m" : 1 ,\n "n": [ ] } }', "", "raw", '{ "m" : 1 ,\n "n": [ ] }\n'),
        ('{ "error" : { "m" : 1 ,\n "n": [ ] } }', "", "jsonl", '{"m":1,"n":[]}\n'),
        ('{"error":"\\u00fc"}', "", "raw", '"\\u00fc"\n'),
        ('{"error":1,"error":2}', "", "json", "1\n"),
        ('{"a":{"error":1}}', "", "json", ""),
        ('["error"]', "", "json", ""),
        ('{"error":{"m":1}}', "text/plain", "jsonl", '{"m":1}\n'),
        ("<html>error</html>", "", "json", ""),
    ],
)
def test_error_objects(
    stub_address: Stub, capfd: pytest.CaptureFixture[str], body: str, content_type: str, format_: str, wanted: str
) -> None:
    stub_address.responses, stub_address.content_type = [(400, body)], content_type
    assert run(["files", "retrieve", "f", "--format-error", format_]) == 1
    shown = capfd.readouterr()
    assert shown.out == wanted
    assert "400 Bad Request\n" in shown.err and "Traceback" not in shown.err


def test_a_path_for_errors_that_is_not_understood(stub_address: Stub, capfd: pytest.CaptureFixture[str]) -> None:
    stub_address.responses = [(400, '{"error":{"a":[1]}}')]
    assert run(["files", "retrieve", "f", "--transform-error", "a.-1"]) == 1
    assert "the error object cannot be displayed: --transform-error: the index -1 is negative" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("body", "content_type", "wanted"),
    [
        ('{"id":"f"}', "text/plain", '{"id":"f"}\n'),
        ("[1, 2]", "text/html", "[1,2]\n"),
        ("plain words", "text/plain", "\n"),
        ("not json", "text/plain", "not\n"),
    ],
)
def test_objects_of_any_media_type(
    stub_address: Stub, capfd: pytest.CaptureFixture[str], body: str, content_type: str, wanted: str
) -> None:
    stub_address.responses, stub_address.content_type = [(200, body)] * 2, content_type
    assert run(["files", "retrieve", "f", "--format", "jsonl"]) == 0
    assert capfd.readouterr().out == wanted
    assert run(["files", "list"]) == 1


@pytest.mark.parametrize(
    ("body", "code", "wanted"),
    [
        ("not json", 1, ""),
        ('{"data":[{"id":nope}]}', 1, ""),
        ('{"data":[{"id":1},]}', 1, ""),
        ("{'data':[]}", 1, ""),
        ('\ufeff{"data":[]}', 1, ""),
        ('{"data":[{"id":"a\tb"}]}', 1, ""),
        ('{"data":[1],"has_more":false} x', 0, "1\n"),
        (' \n{"data":[{"id" : 1.0}],"has_more":false}', 0, '{"id":1.0}\n'),
        ('{"data":{"a":1},"has_more":false}', 0, ""),
        ('{"data":"x"}', 0, ""),
        ('{"has_more":true}', 0, ""),
        ("[]", 0, ""),
        ("null", 0, ""),
        ("12", 0, ""),
    ],
)
def test_pages_of_lists(
    stub_address: Stub, capfd: pytest.CaptureFixture[str], body: str, code: int, wanted: str
) -> None:
    stub_address.responses, stub_address.content_type = [(200, body)], "application/json"
    assert run(["files", "list", "--format", "jsonl"]) == code
    assert capfd.readouterr().out == wanted


@pytest.mark.parametrize(
    ("body", "format_", "code", "wanted"),
    [
        ('{"a":1} x', "json", 0, '{\n  "a": 1\n}\n'),
        ('{"a":1} x', "jsonl", 0, '{"a":1}x\n'),
        ('{"a":1} x', "raw", 0, '{"a":1} x\n'),
        ('{"a":1} x', "yaml", 1, ""),
        ('{"a":1} {"b": "c d"}\n', "jsonl", 0, '{"a":1}{"b":"c d"}\n'),
        ('{"a":1} {"b": "c d"}\n', "yaml", 0, "a: 1\n---\nb: c d\n"),
        ("[1 , 2] 3", "jsonl", 0, "[1,2]3\n"),
        ("[1 , 2] 3", "yaml", 0, "- 1\n- 2\n---\n3\n"),
        ("[1 , 2] nope", "yaml", 1, ""),
        ("12 x", "jsonl", 0, "12\n"),
        ("12 x", "yaml", 0, "12\n"),
        ('"a" "b"', "yaml", 0, "a\n"),
        ('  {"a" : 1}  \n', "jsonl", 0, '{"a":1}\n'),
    ],
)
def test_what_follows_a_value(
    stub_address: Stub, capfd: pytest.CaptureFixture[str], body: str, format_: str, code: int, wanted: str
) -> None:
    stub_address.responses = [(200, body)]
    assert run(["files", "retrieve", "f", "--format", format_]) == code
    assert capfd.readouterr().out == wanted


def test_members_are_found_as_they_are_written() -> None:
    text = ' {"a" : {"x": 1} , "\\u0062": [ {} ], "c":2'
    assert [member_text(text, name) for name in "abcd"] == ['{"x": 1}', "[ {} ]", "2", None]
    assert member_text('{"a":{"b"', "a") == '{"b"'
    assert [member_text(broken, "a") for broken in ("", "[", "{", '{"a"', '{"a":', '"a"')] == [None] * 6
