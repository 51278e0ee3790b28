"""What the tests of the multipart reader share: forms to build, ways to read them, uploads of real clients."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from filestead.api.http.multipart import PART_END, Event, MultipartError, MultipartReader, PartStart

Part = tuple[str, str | None, bytes]

B = b"7MA4YWxkTrZu0gW"
FIELD = b'Content-Disposition: form-data; name="f"\r\n'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.bin"\r\n'


def part(content: bytes = b"", head: bytes = FIELD, boundary: bytes = B) -> bytes:
    return b"--" + boundary + b"\r\n" + head + b"\r\n" + content + b"\r\n"


def form(*parts: bytes, boundary: bytes = B) -> bytes:
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


def chunked(body: bytes, size: int) -> Iterator[bytes]:
    return (body[i : i + size] for i in range(0, len(body), size))


def joined(events: Iterable[Event]) -> list[Part]:
    """The parts, with an assertion that events come in order: head, data (never empty), end."""
    parts: list[Part] = []
    head: PartStart | None = None
    content: list[bytes] = []
    for event in events:
        if isinstance(event, PartStart):
            assert head is None
            head, content = event, []
        elif event is PART_END:
            assert head is not None
            parts.append((head.name, head.filename, b"".join(content)))
            head = None
        else:
            assert head is not None
            assert isinstance(event, bytes)
            assert event
            content.append(event)
    assert head is None
    return parts


def read(body: bytes, boundary: bytes = B, size: int = 0) -> list[Part]:
    reader = MultipartReader(boundary)
    events: list[Event] = []
    for chunk in chunked(body, size or len(body) or 1):
        events += reader.feed(chunk)
    reader.close()
    assert reader.finished
    return joined(events)


def refusal(body: bytes, boundary: bytes = B) -> MultipartError:
    """The error, the same one for the whole body and for one byte at a time."""
    with pytest.raises(MultipartError) as whole:
        read(body, boundary)
    with pytest.raises(MultipartError) as bytewise:
        read(body, boundary, 1)
    assert (whole.type, whole.value.reason) == (bytewise.type, bytewise.value.reason)
    return whole.value


def disposition(value: str | bytes) -> tuple[str, str | None]:
    raw = value.encode() if isinstance(value, str) else value
    [(name, filename, _)] = read(form(part(head=b"Content-Disposition: " + raw + b"\r\n")))
    return name, filename


def field_headed(size: int) -> bytes:
    """A part head of exactly this size, its empty line included."""
    return FIELD + b"X: " + b"y" * (size - len(FIELD) - 7) + b"\r\n"


# --- uploads: request header, body, and the parts that must be seen in it -------------------------------------------


@dataclass(frozen=True)
class Upload:
    client: str
    content_type: str
    body: bytes
    parts: list[Part]


def crlf(text: str) -> bytes:
    """The text with every line end as CRLF, and LF written as `␊`."""
    return text.removeprefix("\n").replace("\n", "\r\n").replace("␊", "\n").encode()


LINE = b'{"a":1}\n'

# Recorded from the client; Go's are put together from recorded part heads.
RECORDED = [
    Upload(
        "Python openai: fields first, %22, raw UTF-8, backslash escaped",
        "multipart/form-data; boundary=484552e3a8502969ec46faf37a4d52ec",
        crlf("""
--484552e3a8502969ec46faf37a4d52ec
Content-Disposition: form-data; name="purpose"

batch
--484552e3a8502969ec46faf37a4d52ec
Content-Disposition: form-data; name="expires_after[anchor]"

created_at
--484552e3a8502969ec46faf37a4d52ec
Content-Disposition: form-data; name="expires_after[seconds]"

3600
--484552e3a8502969ec46faf37a4d52ec
Content-Disposition: form-data; name="file"; filename="naïve %22q%22 😀 a\\\\b.jsonl"
Content-Type: application/octet-stream

{"a":1}␊
--484552e3a8502969ec46faf37a4d52ec--
"""),
        [
            ("purpose", None, b"batch"),
            ("expires_after[anchor]", None, b"created_at"),
            ("expires_after[seconds]", None, b"3600"),
            ("file", 'naïve "q" 😀 a\\b.jsonl', LINE),
        ],
    ),
    Upload(
        "Node openai: file first, backslash as it is",
        "multipart/form-data; boundary=----formdata-undici-053560556248",
        crlf("""
------formdata-undici-053560556248
Content-Disposition: form-data; name="file"; filename="naïve %22q%22 😀 a\\b.jsonl"
Content-Type: application/octet-stream

{"a":1}␊
------formdata-undici-053560556248
Content-Disposition: form-data; name="purpose"

batch
------formdata-undici-053560556248--
"""),
        [("file", 'naïve "q" 😀 a\\b.jsonl', LINE), ("purpose", None, b"batch")],
    ),
    Upload(
        "curl",
        "multipart/form-data; boundary=------------------------3516149e351ef2eb",
        crlf("""
--------------------------3516149e351ef2eb
Content-Disposition: form-data; name="purpose"

batch
--------------------------3516149e351ef2eb
Content-Disposition: form-data; name="file"; filename="naïve %22q%22 😀.jsonl"
Content-Type: application/octet-stream

{"a":1}␊
--------------------------3516149e351ef2eb--
"""),
        [("purpose", None, b"batch"), ("file", 'naïve "q" 😀.jsonl', LINE)],
    ),
    Upload(
        "Go command line: sorted, so the file before the purpose; quote and backslash escaped",
        "multipart/form-data; boundary=6bcb6a7b1c1f0ab3f8b1d0e3b0a90f5e8a2f0f4a1e7d7b6f3f44f3a4b7d1",
        crlf("""
--6bcb6a7b1c1f0ab3f8b1d0e3b0a90f5e8a2f0f4a1e7d7b6f3f44f3a4b7d1
Content-Disposition: form-data; name="expires_after[anchor]"

created_at
--6bcb6a7b1c1f0ab3f8b1d0e3b0a90f5e8a2f0f4a1e7d7b6f3f44f3a4b7d1
Content-Disposition: form-data; name="expires_after[seconds]"

3600
--6bcb6a7b1c1f0ab3f8b1d0e3b0a90f5e8a2f0f4a1e7d7b6f3f44f3a4b7d1
Content-Disposition: form-data; name="file"; filename="a\\"b;c\\\\d übung 文.txt"
Content-Type: text/plain; charset=utf-8

{"a":1}␊
--6bcb6a7b1c1f0ab3f8b1d0e3b0a90f5e8a2f0f4a1e7d7b6f3f44f3a4b7d1
Content-Disposition: form-data; name="purpose"

user_data
--6bcb6a7b1c1f0ab3f8b1d0e3b0a90f5e8a2f0f4a1e7d7b6f3f44f3a4b7d1--
"""),
        [
            ("expires_after[anchor]", None, b"created_at"),
            ("expires_after[seconds]", None, b"3600"),
            ("file", 'a"b;c\\d übung 文.txt', LINE),
            ("purpose", None, b"user_data"),
        ],
    ),
    Upload(
        "Go command line: an empty --file is a field without a filename",
        "multipart/form-data; boundary=6bcb6a7b1c1f0ab3",
        crlf("""
--6bcb6a7b1c1f0ab3
Content-Disposition: form-data; name="file"


--6bcb6a7b1c1f0ab3
Content-Disposition: form-data; name="purpose"

batch
--6bcb6a7b1c1f0ab3--
"""),
        [("file", None, b""), ("purpose", None, b"batch")],
    ),
]

# Written after the client's source, or recordings of its users.
WRITTEN = [
    Upload(
        ".NET: quoted boundary, bare parameters, filename*",
        'multipart/form-data; boundary="4a424cac-7519-4ce0-b0b8-cb117505a4c3"',
        crlf("""
--4a424cac-7519-4ce0-b0b8-cb117505a4c3
Content-Disposition: form-data; name=file; filename=data.jsonl; filename*=utf-8''data.jsonl

{"a":1}␊
--4a424cac-7519-4ce0-b0b8-cb117505a4c3
Content-Type: text/plain; charset=utf-8
Content-Disposition: form-data; name=purpose

batch
--4a424cac-7519-4ce0-b0b8-cb117505a4c3--
"""),
        [("file", "data.jsonl", LINE), ("purpose", None, b"batch")],
    ),
    Upload(
        ".NET: a name beyond ASCII is an encoded word, and readable only in filename*",
        'multipart/form-data; boundary="4a424cac-7519-4ce0-b0b8-cb117505a4c3"',
        crlf("""
--4a424cac-7519-4ce0-b0b8-cb117505a4c3
Content-Disposition: form-data; name=file; filename="=?utf-8?B?c3BlY2lhbOKCrGZpbGVuYW1l?="; filename*=utf-8''special%E2%82%ACfilename

{"a":1}␊
--4a424cac-7519-4ce0-b0b8-cb117505a4c3
Content-Type: text/plain; charset=utf-8
Content-Disposition: form-data; name=purpose

batch
--4a424cac-7519-4ce0-b0b8-cb117505a4c3--
"""),
        [("file", "special€filename", LINE), ("purpose", None, b"batch")],
    ),
    Upload(
        ".NET through Flurl: quotes of the caller's end up in filename*",
        'multipart/form-data; boundary="4a424cac-7519-4ce0-b0b8-cb117505a4c3"',
        crlf("""
--4a424cac-7519-4ce0-b0b8-cb117505a4c3
Content-Disposition: form-data; name="file"; filename="test.csv"; filename*=utf-8''%22test.csv%22

{"a":1}␊
--4a424cac-7519-4ce0-b0b8-cb117505a4c3--
"""),
        [("file", "test.csv", LINE)],
    ),
    Upload(
        "Ruby with Faraday: empty part type, length and encoding per part, an empty line behind the end",
        "multipart/form-data; boundary=-----------RubyMultipartPost-2e8a4c4d1f0b7d8e9c6a5b4c3d2e1f00",
        crlf("""
-------------RubyMultipartPost-2e8a4c4d1f0b7d8e9c6a5b4c3d2e1f00
Content-Disposition: form-data; name="file"; filename="sentiment.jsonl"
Content-Length: 8
Content-Type:\x20
Content-Transfer-Encoding: binary

{"a":1}␊
-------------RubyMultipartPost-2e8a4c4d1f0b7d8e9c6a5b4c3d2e1f00
Content-Disposition: form-data; name="purpose"

fine-tune
-------------RubyMultipartPost-2e8a4c4d1f0b7d8e9c6a5b4c3d2e1f00--

"""),
        [("file", "sentiment.jsonl", LINE), ("purpose", None, b"fine-tune")],
    ),
    Upload(
        "Ruby openai: names are URL-encoded, which stays in them; every part has a type",
        "multipart/form-data; boundary=4q2dPq3JmA0m1vY-Zk0p_5GQhLxT7bNfR8cWsEoUiKj6HtVyXzDaBnMlCgFw",
        crlf("""
--4q2dPq3JmA0m1vY-Zk0p_5GQhLxT7bNfR8cWsEoUiKj6HtVyXzDaBnMlCgFw
Content-Disposition: form-data; name="file"; filename="my%20data.jsonl"
Content-Type: application/octet-stream

{"a":1}␊
--4q2dPq3JmA0m1vY-Zk0p_5GQhLxT7bNfR8cWsEoUiKj6HtVyXzDaBnMlCgFw
Content-Disposition: form-data; name="purpose"
Content-Type: text/plain

batch
--4q2dPq3JmA0m1vY-Zk0p_5GQhLxT7bNfR8cWsEoUiKj6HtVyXzDaBnMlCgFw--
"""),
        [("file", "my%20data.jsonl", LINE), ("purpose", None, b"batch")],
    ),
    Upload(
        "Java with Apache HttpClient: an encoding per part, filename* alone and in quotes",
        "multipart/form-data; charset=UTF-8; boundary=jVQq0uBSg6Ndz2CwbOyuOyJdD1mF4ZbmYv",
        crlf("""
--jVQq0uBSg6Ndz2CwbOyuOyJdD1mF4ZbmYv
Content-Disposition: form-data; name="purpose"
Content-Type: text/plain; charset=ISO-8859-1
Content-Transfer-Encoding: 8bit

batch
--jVQq0uBSg6Ndz2CwbOyuOyJdD1mF4ZbmYv
Content-Disposition: form-data; name="file"; filename*="UTF-8''na%C3%AFve.jsonl"
Content-Type: application/octet-stream
Content-Transfer-Encoding: binary

{"a":1}␊
--jVQq0uBSg6Ndz2CwbOyuOyJdD1mF4ZbmYv--
"""),
        [("purpose", None, b"batch"), ("file", "naïve.jsonl", LINE)],
    ),
    Upload(
        "Chrome: %22 and an emoji in the filename",
        "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
        crlf("""
------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="purpose"

assistants
------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="file"; filename="a %22quoted%22 %0D%0A 🦊 100%25.txt"
Content-Type: text/plain

{"a":1}␊
------WebKitFormBoundary7MA4YWxkTrZu0gW--
"""),
        [("purpose", None, b"assistants"), ("file", 'a "quoted" \r\n 🦊 100%25.txt', LINE)],
    ),
    Upload(
        "Firefox: a long row of dashes, no file chosen",
        "multipart/form-data; boundary=---------------------------9051914041544843365972754266",
        crlf("""
-----------------------------9051914041544843365972754266
Content-Disposition: form-data; name="file"; filename=""
Content-Type: application/octet-stream


-----------------------------9051914041544843365972754266--
"""),
        [("file", "", b"")],
    ),
    Upload(
        "an old Windows browser: the whole path, backslashes as they are",
        "multipart/form-data; boundary=---------------------------7d91c1a2f0b4",
        crlf("""
-----------------------------7d91c1a2f0b4
Content-Disposition: form-data; name="file"; filename="C:\\fakepath\\notes.txt"
Content-Type: text/plain

{"a":1}␊
-----------------------------7d91c1a2f0b4--
"""),
        [("file", "C:\\fakepath\\notes.txt", LINE)],
    ),
]

UPLOADS = RECORDED + WRITTEN
