"""What a user reads of a JSONL file that is refused or faulty: the hosted service's sentence, then which fault it is."""

import gzip
import io
import json
import zipfile
from collections.abc import Iterator

import pytest

from tests.support.servers import Server

REQUEST = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"model": "m"}}
LINE = json.dumps(REQUEST).encode()
BATCH = "Invalid file format for Batch API. Must be .jsonl"
NOT_UTF8 = "Invalid file for Batch API. Must be utf-8 encoded"
TRAINING = (
    "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
    'Line {} is not a dictionary (HINT: line starts with: "'
)
OWN_WORDS = ("malformed", "truncated", "codec", "Expecting", "delimiter", "Unterminated", "(char ", "Extra data", "$")
"""Of decoders and codecs."""


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("a.jsonl", LINE)
    return packed.getvalue()


ARRAY = "The file is one JSON array; write each of its members on a line of its own, without the brackets."
ONE_LINE = "Line 1 ends before its object does: write each object on one line, not over several."
BAD = "Line 1: it is not valid JSON (column {}: {})."
KINDS = [
    ("empty", b"", BATCH, "The file is empty."),
    ("blank", b"\n \r\n", BATCH, "The file has only blank lines."),
    ("byte order mark", b"\xef\xbb\xbf" + LINE, BATCH, "The file starts with a byte order mark (BOM); save it as UTF-8 without one."),
    ("UTF-16", LINE.decode().encode("utf-16"), NOT_UTF8, "The file is UTF-16; save it as UTF-8."),
    ("UTF-16 without mark", LINE.decode().encode("utf-16-le"), BATCH, "The file is UTF-16; save it as UTF-8."),
    ("UTF-16, big end first", LINE.decode().encode("utf-16-be"), BATCH, "The file is UTF-16; save it as UTF-8."),
    ("UTF-32", LINE.decode().encode("utf-32"), NOT_UTF8, "The file is UTF-32; save it as UTF-8."),
    ("gzip", gzip.compress(LINE, mtime=0), NOT_UTF8, "The file is compressed with gzip; upload the JSONL file itself."),
    ("ZIP", archive(), None, "The file is a ZIP archive (or an Office document); upload the JSONL file itself."),
    ("array", b"[" + LINE + b", " + LINE + b"]", BATCH, ARRAY),
    ("array over lines", b"[" + LINE + b",\n" + LINE + b"]\n", BATCH, ARRAY),
    ("array in print", json.dumps([REQUEST], indent=2).encode(), BATCH, ARRAY),
    ("object in print", json.dumps(REQUEST, indent=2).encode(), BATCH, ONE_LINE),
    ("Latin-1", LINE.replace(b'"m"', b'"\xe9"'), NOT_UTF8, "Line 1: it is not valid JSON (byte 81 of it is not UTF-8; save the file as UTF-8)."),
    ("NaN", LINE.replace(b'"m"', b"NaN"), BATCH, BAD.format(80, "NaN, which JSON does not have; write null or a string")),
    ("None", LINE.replace(b'"m"', b"None"), BATCH, BAD.format(80, "None, as in Python; JSON writes null, true, false")),
    ("trailing comma", LINE[:-1] + b",}", BATCH, BAD.format(84, "a comma before '}'; remove it")),
    ("comma between lines", LINE + b",\n" + LINE, BATCH, BAD.format(85, "a comma after the object; remove it")),
    ("two on a line", LINE + LINE, BATCH, BAD.format(85, "more than one value; write one on each line")),
    ("single quotes", repr(REQUEST).encode(), BATCH, BAD.format(2, "single quotes; JSON writes double quotes")),
    ("backslash", rb'{"a": "C:\dir"}', BATCH, BAD.format(10, "a backslash that begins no escape; double it")),
    ("CSV", b"custom_id,method,url\r\n1,POST,/v1/responses\r\n", BATCH, "The file looks like CSV; write each row as a JSON object on a line of its own."),
    ("prose", b"Dear all,\n", BATCH, "Line 1: it is not a JSON object. Each line must be one, in braces."),
    ("cut off", LINE[:30], BATCH, "Line 1: it is not valid JSON (it ends before its object does)."),
    ("surrogate and no end", rb'{"a": "\ud83d', BATCH, "Line 1: it is not valid JSON (it ends before its object does)."),
    ("too deep", b'{"a": ' + b"[" * 100_000, BATCH, "Line 1: it is nested too deeply."),
    ("9 MB, broken", b'{"a": "' + b"x" * 9_000_000, BATCH, "Line 1: it is not valid JSON (it ends before its object does)."),
    ("9 MB, two objects", b'{"a": "' + b"x" * 9_000_000 + b'"}{}', BATCH, "Line 1: it is not valid JSON."),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("lines") / "data", uploads_per_minute=0) as serving:
        yield serving


def refusal(server: Server, purpose: str, content: bytes) -> str:
    response = server.client.post("/files", data={"purpose": purpose}, files={"file": ("a.jsonl", content)})
    assert response.status_code == 400, response.text
    message = str(response.json()["error"]["message"])
    assert not any(word in message for word in OWN_WORDS), message
    return message


@pytest.mark.parametrize(("what", "content", "hosted", "then"), KINDS, ids=[kind[0] for kind in KINDS])
def test_a_refused_batch_file(server: Server, what: str, content: bytes, hosted: str | None, then: str) -> None:
    message = refusal(server, "batch", content)
    assert message in ([f"{hosted}. {then}"] if hosted else [f"{BATCH}. {then}", f"{NOT_UTF8}. {then}"])


@pytest.mark.parametrize(("what", "content", "hosted", "then"), KINDS, ids=[kind[0] for kind in KINDS])
def test_a_refused_fine_tuning_file(server: Server, what: str, content: bytes, hosted: str | None, then: str) -> None:
    message = refusal(server, "fine-tune", content)
    assert message.startswith(TRAINING.format(1))
    assert message.endswith(f'..."). {then}')


def test_the_line_is_named_that_is_bad(server: Server) -> None:
    good = b'{"prompt": "a", "completion": "b"}'
    message = refusal(server, "fine-tune", good + b"\n\n" + good + b"\n" + b'{"prompt": "a",}')
    assert message.startswith(TRAINING.format(4))
    assert message.endswith(" Line 4: it is not valid JSON (column 15: a comma before '}'; remove it).")


@pytest.mark.parametrize("name", ["a.txt ", "a.", "a. ", "report.v2 final"])
def test_an_extension_that_is_easily_overlooked_is_shown_with_its_name(server: Server, name: str) -> None:
    response = server.client.post("/files", data={"purpose": "assistants"}, files={"file": (name, b"x")})
    message = response.json()["error"]["message"]
    extension = name.rpartition(".")[2]
    assert message.startswith(f'Invalid extension {extension}. Supported formats: "c", "cpp", ')
    assert f" The file name is {name!r}" in message


@pytest.mark.parametrize(
    ("line", "details"),
    [
        (rb'{"custom_id": "\ud83d", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "\ud83d"}}', None),
        (LINE + b"\n" + LINE.replace(b'"a"', b'"b"').replace(b'"m"', b'"n"'), None),
        (LINE.replace(b"responses", b"rerank").replace(b'"model": "m"', b""), None),
        (LINE.replace(b'"m"', b'"m", "stream": true'), "Line 1: 'body.stream' is true; expected false, since no batch can stream."),
    ],
)  # fmt: skip
def test_files_that_are_taken(server: Server, line: bytes, details: str | None) -> None:
    made = server.upload(line, purpose="batch")
    assert (made["status"], made["status_details"]) == ("processed", details)
