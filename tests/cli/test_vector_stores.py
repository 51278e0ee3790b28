"""`filestead vector-stores` and its parts, where the recorded runs do not reach: values, members, pages and errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from filestead.cli.client import operations
from filestead.cli.client.catalog.global_flags import GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.client.grammar.model import ParsedArgs
from filestead.cli.client.grammar.parser import parse_args
from filestead.cli.client.request_bodies import json_body
from filestead.cli.errors import CommandError, UsageError
from filestead.client._transport.requests import Request
from tests.cli.commandline import CommandLine
from tests.cli.stub import Stub

STORE = ("vector-stores", "create")
UPDATE = ("vector-stores", "update", "vs_1")
SEARCH = ("vector-stores", "search", "vs_1")
ATTACH = ("vector-stores:files", "create", "vs_1")
BATCH = ("vector-stores:file-batches", "create", "vs_1")


def request_of(*words: str, piped: Any = None) -> Request:
    """The request that a command line leads to, with these members on standard input."""
    group, name, *rest = words
    command = next(command for command in GROUPS[group].commands if command.name == name)
    args = ParsedArgs()
    parse_args(rest, (*command.flags, *GLOBAL_FLAGS), args)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "read_piped_body", lambda: {} if piped is None else piped)
        return operations.build_request(command, args, operations.resolve_args(command, args))


def body_of(*words: str, piped: Any = None) -> Any:
    body = request_of(*words, piped=piped).body
    assert isinstance(body, bytes)
    return json.loads(body)


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ((*STORE, "--name", "null"), {"name": "null"}),
        ((*STORE, "--name", ""), {"name": ""}),
        ((*STORE, "--file-id", "a,b"), {"file_ids": ["a,b"]}),
        ((*STORE, "--metadata", "null"), {"metadata": None}),
        ((*STORE, "--metadata", ""), {"metadata": None}),
        ((*STORE, "--metadata", "{}"), {"metadata": {}}),
        ((*STORE, "--metadata", "{a: 1}", "--metadata", "{b: 2}"), {"metadata": {"b": 2}}),
        ((*STORE, "--expires-after", "{days: 1, x: 2}", "--expires-after.days=0x10"),
         {"expires_after": {"days": 16, "x": 2}}),
        ((*UPDATE, "--name", "null"), {"name": None}),
        ((*UPDATE, "--name", "~"), {"name": "~"}),
        ((*UPDATE, "--name", "5"), {"name": "5"}),
        ((*UPDATE, "--expires-after", "null"), {"expires_after": None}),
        ((*SEARCH, "--query", "two words"), {"query": "two words"}),
        ((*SEARCH, "--query", "[a, 'b: c']"), {"query": ["a", "b: c"]}),
        ((*SEARCH, "--query", '"error: 42"'), {"query": "error: 42"}),
        ((*SEARCH, "--query", "42"), {"query": 42}),
        ((*SEARCH, "--query", ""), {"query": None}),
        ((*SEARCH, "--query", "@nobody"), {"query": "@nobody"}),
        ((*SEARCH, "--query", "q", "--rewrite-query"), {"query": "q", "rewrite_query": True}),
        ((*SEARCH, "--query", "q", "--rewrite-query=false"), {"query": "q", "rewrite_query": False}),
        ((*SEARCH, "--query", "q", "--ranking-options.score-threshold", ".5", "--ranking-options.ranker", "auto"),
         {"query": "q", "ranking_options": {"score_threshold": 0.5, "ranker": "auto"}}),
        ((*ATTACH, "--file-id", "", "--attributes", "{a: true, b: 1.5}"),
         {"file_id": "", "attributes": {"a": True, "b": 1.5}}),
        (BATCH, {}),
    ],
)  # fmt: skip
def test_values(words: tuple[str, ...], body: Any) -> None:
    assert body_of(*words) == body


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (("--file.file-id", "a", "--file.file-id", "b"), [{"file_id": "a"}, {"file_id": "b"}]),
        (("--file.attributes", "{k: 1}", "--file.file-id", "a"), [{"attributes": {"k": 1}, "file_id": "a"}]),
        (("--file", "{file_id: a}", "--file.attributes", "{k: 1}", "--file.file-id", "b"),
         [{"file_id": "a", "attributes": {"k": 1}}, {"file_id": "b"}]),
        (("--file.file-id", "a", "--file", "{file_id: b}"), [{"file_id": "a"}, {"file_id": "b"}]),
        (("--file", "null", "--file.file-id", "b"), [None, {"file_id": "b"}]),
    ],
)  # fmt: skip
def test_inner_flags_of_a_list(words: tuple[str, ...], files: Any) -> None:
    assert body_of(*BATCH, *words) == {"files": files}


def test_json_is_spelled_as_go_does() -> None:
    members = {"b": "<&>\u2028ü", "a": [1.0, 0.25, 1e30, -2.0, True, None], "c\udcff": "\udcff"}
    wanted = '{"a":[1,0.25,1e+30,-2,true,null],"b":"\\u003c\\u0026\\u003e\\u2028ü","c\ufffd":"\ufffd"}'
    assert json_body(members).decode() == wanted


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
def test_numbers_that_json_does_not_have(number: str) -> None:
    with pytest.raises(CommandError, match="finite"):
        request_of(*STORE, "--metadata", f"{{a: {number}}}")


def test_files_in_values(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a: b\n")
    (tmp_path / "data.bin").write_bytes(b"\xff\x00")
    assert body_of(*SEARCH, "--query", f"@{tmp_path}/text.txt") == {"query": "a: b\n"}
    metadata = f"{{a: ['@{tmp_path}/text.txt'], '@{tmp_path}/text.txt': '@{tmp_path}/data.bin', c: '\\@x'}}"
    assert body_of(*STORE, "--metadata", metadata)["metadata"] == {
        "a": ["a: b\n"],
        f"@{tmp_path}/text.txt": "/wA=",
        "c": "@x",
    }
    with pytest.raises(FileNotFoundError):
        request_of(*STORE, "--name", "@./none.txt")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*STORE, "--metadata", "text"), 'invalid value "text" for --metadata: must be a mapping, such as {key: value}'),
        ((*STORE, "--metadata", "@m.yaml"), 'invalid value "@m.yaml" for --metadata: not valid YAML or JSON'),
        ((*STORE, "--expires-after.days", "1.5"), 'invalid value "1.5" for --expires-after.days: not an integer'),
        ((*STORE, "store"), "unexpected extra arguments: store"),
        ((*SEARCH, "--query", "[a"), 'invalid value "[a" for --query: not valid YAML or JSON'),
        ((*SEARCH, "--query", "a: b: c"), "to pass a text as it is, put it in double quotes"),
        ((*SEARCH, "--query", "q", "--ranking-options.score-threshold", "high"), "score-threshold: not a number"),
        ((*SEARCH, "--query", "q", "--ranking-options.score-threshold", "nan"), "score-threshold: not a number"),
        ((*SEARCH, "--query", "q", "--ranking-options.score-threshold", "1e999"), "score-threshold: out of range"),
        ((*SEARCH, "--query", "q", "--rewrite-query=maybe"), "--rewrite-query: must be true or false"),
        ((*SEARCH, "reset the password"), "pass it with a flag: --query 'reset the password'"),
        (SEARCH, "missing required flag --query"),
        (("vector-stores", "search"), "missing required flags --vector-store-id, --query"),
        ((*ATTACH, "file-1"), "unexpected extra arguments: file-1; pass it with a flag: --file-id file-1"),
        ((*BATCH, "file-1", "file-2"), "pass them with a flag: --file-id file-1 --file-id file-2"),
        ((*BATCH, "--file", "file-1"), 'invalid value "file-1" for --file: must be a mapping'),
        ((*BATCH, "--file.file", "file-1"), "unknown flag --file.file; did you mean --file.file-id?"),
        (("vector-stores", "delete", "a", "b"), "xargs -n 1 filestead vector-stores delete"),
        (("vector-stores", "retrieve", "--vector-store-id", ""), "--vector-store-id must not be empty"),
        (("vector-stores:files", "delete", "vs_1", "--file-id", ""), "--file-id must not be empty"),
        (("vector-stores:file-batches", "cancel", "", "b"), "missing required flag --vector-store-id"),
    ],
)  # fmt: skip
def test_words_that_make_no_sense(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        request_of(*words)
    assert message in str(caught.value)


# --- requests -------------------------------------------------------------------------------------------------------


def test_ids_do_not_leave_their_place() -> None:
    request = request_of("vector-stores:files", "delete", "..", "a/b?c={file_id}")
    assert request.target == "/vector_stores/%2E%2E/files/a%2Fb%3Fc=%7Bfile_id%7D"


def test_members_that_are_piped_in() -> None:
    piped = {"vector_store_id": "vs_2", "query": "piped", "extra": [1], "max_num_results": 3}
    request = request_of("vector-stores", "search", "--max-num-results", "5", piped=piped)
    assert request.path == "/vector_stores/vs_2/search"
    assert json.loads(request.body) == {"query": "piped", "extra": [1], "max_num_results": 5}  # type: ignore[arg-type]
    listed = request_of(
        "vector-stores:files", "list", "vs_1", piped={"vector_store_id": "vs_2", "filter": "failed", "x": 1}
    )
    assert (listed.target, listed.body) == ("/vector_stores/vs_1/files?filter=failed", None)
    assert request_of("vector-stores:file-batches", "cancel", "vs_1", "b", piped={"x": 1}).body is None


def test_what_is_piped_in_is_a_mapping() -> None:
    with pytest.raises(UsageError, match="not a mapping of request members"):
        request_of(*STORE, piped=["a"])
    assert request_of("vector-stores", "list", piped="text").target == "/vector_stores", "there is no body to fill"


# --- against a server -----------------------------------------------------------------------------------------------


PAGE = '{"data":[{"id":"a","n":1},{"id":"b","n":2}],"has_more":true,"next_page":"x"}'


@pytest.mark.parametrize("words", [(*SEARCH, "--query", "q"), ("vector-stores:files", "content", "vs_1", "f")])
def test_results_have_one_page(stubbed: CommandLine, stub: Stub, words: tuple[str, ...]) -> None:
    stub.responses = [(200, PAGE)] * 3
    done = stubbed(*words, "-r", "--transform", "id")
    assert (done.code, done.out, done.err) == (0, "a\nb\n", "")
    assert stubbed(*words, "--max-items", "1", "--transform", "n").out == "1\n"
    assert stubbed(*words, "--format", "raw").out == PAGE + "\n"
    assert len(stub.requests) == 3, "the official client requests no second page either"


def test_a_list_of_pages_ends(stubbed: CommandLine, stub: Stub) -> None:
    last = '{"data":[{"id":"c","n":3}],"has_more":false}'
    stub.responses = [(200, PAGE), (200, last), (200, PAGE)]
    assert stubbed("vector-stores", "list", "--limit", "2", "--transform", "n").out == "1\n2\n3\n"
    assert stubbed("vector-stores", "list", "--max-items", "2", "--transform", "n").out == "1\n2\n"
    assert [line for line, _, _ in stub.requests] == [
        "GET /v1/vector_stores?limit=2",
        "GET /v1/vector_stores?after=b&limit=2",
        "GET /v1/vector_stores",
    ]


def test_a_request_is_repeated_with_its_body(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [(503, "busy"), (200, PAGE)]
    assert stubbed(*SEARCH, "--query", "q", "--max-items", "0").code == 0
    lines, headers, bodies = zip(*stub.requests, strict=True)
    assert lines == ("POST /v1/vector_stores/vs_1/search",) * 2
    assert bodies == (b'{"query":"q"}',) * 2
    for head in headers:
        assert (head["openai-beta"], head["content-type"]) == ("assistants=v2", "application/json")
        assert head["user-agent"].startswith("filestead-cli/")


def test_an_error_of_the_server(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [(404, '{"error":{"message":"No such vector store","code":null}}')] * 2
    done = stubbed("vector-stores", "delete", "vs_1")
    assert (done.code, done.err.split("/v1")[1]) == (1, '/vector_stores/vs_1": 404 Not Found\n')
    assert json.loads(done.out) == {"message": "No such vector store", "code": None}
    assert stubbed(*SEARCH, "--query", "q", "--transform-error", "message").out == '"No such vector store"\n'


def test_results_that_are_not_json(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [(200, "<html>")]
    done = stubbed(*SEARCH, "--query", "q")
    assert (done.code, done.out) == (1, "")
    assert "the response is not JSON" in done.err


@pytest.mark.parametrize(
    ("words", "code", "lines"),
    [
        (("vector-stores",), 0, []),
        (("vector-stores:files", "help"), 0, []),
        (("vector-store", "list"), 3, ["did you mean 'filestead vector-stores'?"]),
        (("vector-stores:file", "list"), 3, ["did you mean 'filestead vector-stores:files'?"]),
        (("search", "q"), 3, ["did you mean 'filestead vector-stores search'?"]),
        (("vector-stores", "find"), 3, ["did you mean 'filestead vector-stores search'?"]),
        (("vector-stores", "get", "vs_1"), 3, ["did you mean 'filestead vector-stores retrieve'?"]),
        (("vector-stores:files", "attach"), 3, ["did you mean 'filestead vector-stores:files create'?"]),
        (("vector-stores:file-batches", "list"), 3, ["did you mean 'filestead vector-stores:file-batches list-files'?"]),
        (("vector-stores:file-batches", "delete"), 3, ["unknown command 'delete'; "]),
        (("vector-stores", "retrieve"), 1,
         ["filestead: missing required flag --vector-store-id",
          "Run 'filestead vector-stores retrieve --help' for flags and examples."]),
        ((*SEARCH, "--format", "xml"), 1, ['invalid value "xml" for --format', "vector-stores search --help"]),
    ],
)  # fmt: skip
def test_exit_codes_and_remedies(bare: CommandLine, words: tuple[str, ...], code: int, lines: list[str]) -> None:
    done = bare(*words)
    assert done.code == code
    assert bool(done.out) is (code == 0)
    for line, wanted in zip(done.err.splitlines(), lines, strict=True):
        assert wanted in line
