"""Decisions of the client, without a server: settings, escaping, forms, retries, errors, validators."""

import io
import pickle
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import pytest

from filestead.client import errors
from filestead.client._download import headers, partial_file
from filestead.client._download.download import Download, ResponseAction
from filestead.client._transport import requests, responses, retries
from filestead.client._transport.exchange import RequestHead, ResponseHead, Send, redirect_request
from filestead.client._transport.session import stream_form
from filestead.client._upload import multipart, sources
from filestead.client.config import configure, parse_base_url, parse_headers

NOW = 1_700_000_000.0


def head(status: int = 200, **headers: str) -> ResponseHead:
    named = httpx2.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return ResponseHead(status, "Reason", "http://host/v1/x", named)


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_environment() -> None:
    environ = {
        "OPENAI_API_KEY": "sk-env",
        "OPENAI_BASE_URL": "https://host/v1/?a=b#c",
        "OPENAI_ORG_ID": "org",
        "OPENAI_PROJECT_ID": "proj",
        "OPENAI_CUSTOM_HEADERS": "X-One: 1\nno colon\n openai-project : other\n",
    }
    config = configure(environ=environ)
    assert config.base_url == "https://host/v1"
    assert config.headers == (
        ("Authorization", "Bearer sk-env"),
        ("OpenAI-Organization", "org"),
        ("X-One", "1"),
        ("openai-project", "other"),
    )
    given = configure(api_key="sk-arg", base_url="http://b", default_headers={"x-one": "2"}, environ=environ)
    assert given.base_url == "http://b"
    assert dict(given.headers)["Authorization"] == "Bearer sk-arg"
    assert [pair for pair in given.headers if pair[0].lower() == "x-one"] == [("x-one", "2")]


def test_defaults() -> None:
    config = configure(environ={"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""})
    assert (config.base_url, config.headers, config.max_retries) == ("http://127.0.0.1:8080/v1", (), 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("host/v1", 'THERE "host/v1" is missing a scheme (expected http:// or https://)'),
        ("", 'THERE "" is missing a scheme (expected http:// or https://)'),
        ("ftp://host", 'THERE "ftp://host" is missing a scheme (expected http:// or https://)'),
        ("http://", 'THERE "http://" is not a URL with a host and a valid port'),
        ("http://host:x", 'THERE "http://host:x" is not a URL with a host and a valid port'),
        ("http://[::1", 'THERE "http://[::1" is not a URL with a host and a valid port'),
    ],
)
def test_invalid_base_urls_are_rejected(value: str, message: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        parse_base_url(value, "THERE")
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


def test_configuration_errors_name_the_setting() -> None:
    with pytest.raises(errors.ConfigurationError, match=r"^OPENAI_BASE_URL "):
        configure(environ={"OPENAI_BASE_URL": "x"})
    with pytest.raises(errors.ConfigurationError, match=r"^base_url "):
        configure(base_url="x", environ={})


def test_headers_that_would_inject_others_are_rejected() -> None:
    for key in ("sk\r\nX: y", "sk\x00", "schlüssel"):
        with pytest.raises(errors.ConfigurationError) as caught:
            configure(api_key=key, environ={})
        assert key not in str(caught.value)
    with pytest.raises(errors.ConfigurationError):
        configure(default_headers={"a b": "c"}, environ={})
    assert parse_headers("A: b: c\r\n:x\nB:") == (("A", "b: c"), ("B", ""))


# --- requests and forms ---------------------------------------------------------------------------------------------


def test_queries_are_escaped_as_go_does() -> None:
    assert requests.encode_query((("a", "b c&d=é"), ("e[f]", "~-_.*/+"))) == "a=b+c%26d%3D%C3%A9&e%5Bf%5D=~-_.%2A%2F%2B"
    asked = requests.list_files(purpose="", limit=0, after="x")
    assert asked.target == "/files?after=x&limit=0&purpose="
    assert requests.list_files().target == "/files"


def test_multipart_encoding_byte_for_byte() -> None:
    source = sources.Source("ignored", 5, True, lambda _: iter([b"he", b"llo"]))
    form = (
        multipart.TextField("purpose", "vision"),
        multipart.FilePart("file", source, 'a"b\r\nc\\é.png'),
    )
    encoded = multipart.encode(form, "B")
    body = b"".join(stream_form(encoded))
    assert body == (
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a\\"b%0D%0Ac\\\\\xc3\xa9.png"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\nhello\r\n--B--\r\n"
    )
    assert encoded.length == len(body)
    assert encoded.content_type == "multipart/form-data; boundary=B"
    unknown = multipart.encode((multipart.FilePart("file", sources.open_source(iter([b"x"]))),))
    assert (unknown.length, unknown.replayable) == (None, False)


def test_the_file_is_the_last_part() -> None:
    request = requests.create_file(sources.open_source(b"x"), "vision", expires_after=3600)
    assert isinstance(request.body, tuple)
    assert [part.name for part in request.body] == [
        "purpose", "expires_after[anchor]", "expires_after[seconds]", "file"
    ]  # fmt: skip
    assert dict(request.headers)["Idempotency-Key"]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (b"abc", ("upload", 3, True)),
        (io.BytesIO(b"abc"), ("upload", 3, True)),
        (iter([b"abc"]), ("upload", None, False)),
        ([b"abc"], ("upload", None, False)),
        (Path("/dev/null"), ("null", None, False)),
    ],
)
def test_names_and_sizes_of_sources(file: Any, expected: tuple[str, int | None, bool]) -> None:
    source = sources.open_source(file)
    assert (source.filename, source.size, source.rewindable) == expected


# --- retries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {}, None),
        (400, {}, None),
        (408, {}, 0.5),
        (409, {}, 0.5),
        (429, {}, 0.5),
        (500, {}, 0.5),
        (599, {}, 0.5),
        (400, {"x-should-retry": "true"}, 0.5),
        (503, {"x-should-retry": "false"}, None),
        (503, {"x-should-retry": "junk"}, 0.5),
        (429, {"retry-after": "7"}, 7.0),
        (429, {"retry-after": "0.25"}, 0.25),
        (429, {"retry-after": "120"}, 120.0),
        (429, {"retry-after": "120.5"}, None),
        (400, {"retry-after": "121", "x-should-retry": "true"}, None),
        (429, {"retry-after": "0"}, 0.0),
        (429, {"retry-after": "-5"}, 0.0),
        (429, {"retry-after": "junk"}, 0.5),
        (429, {"retry-after": "nan"}, 0.5),
        (429, {"retry-after": ""}, 0.5),
        (429, {"retry-after": "9", "retry-after-ms": "1500"}, 1.5),
        (429, {"retry-after": "9", "retry-after-ms": "junk"}, 9.0),
        (429, {"retry-after-ms": "120001"}, None),
        (429, {"retry-after": formatdate(NOW + 60, usegmt=True)}, 60.0),
        (429, {"retry-after": formatdate(NOW - 60, usegmt=True)}, 0.0),
        (429, {"retry-after": formatdate(NOW + 3600, usegmt=True)}, None),
        (429, {"retry-after": "Mon, 99 Zzz 2030 00:00:00 GMT"}, 0.5),
    ],
)
def test_retry_delays(status: int, headers: dict[str, str], expected: float | None) -> None:
    assert retries.delay_after_status(status, headers, 0, now=lambda: NOW, random=lambda: 0.0) == expected


def test_backoff_delays() -> None:
    waits = [retries.backoff(done, random=lambda: 0.0) for done in (0, 1, 2, 3, 4, 5, 5000)]
    assert waits == [0.5, 1, 2, 4, 8, 8, 8]
    assert retries.backoff(0, random=lambda: 1.0) == 0.375


# --- redirects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "location", "kept"),
    [
        ("http://host/v1/x", "http://host/y", True),
        ("http://host/v1/x", "/y", True),
        ("http://host/v1/x", "http://HOST:80/y", True),
        ("http://host/v1/x", "https://host/y", True),
        ("http://host:8080/v1/x", "https://host:8080/y", False),
        ("http://host:8080/v1/x", "http://host:8081/y", False),
        ("http://host/v1/x", "http://host.example/y", False),
        ("http://host/v1/x", "//other/y", False),
    ],
)
def test_redirects_to_another_origin_drop_credentials(url: str, location: str, kept: bool) -> None:
    sent = Send(RequestHead("GET", url, (("Accept", "a"), ("Authorization", "k"), ("X-Api", "k"))), None)
    names = {name for name, _ in redirect_request(sent, 302, location).head.headers}
    assert names == ({"Accept", "Authorization", "X-Api"} if kept else {"Accept"})


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        ("DELETE", 301, "GET"),
        ("DELETE", 302, "GET"),
        ("DELETE", 303, "GET"),
        ("DELETE", 307, "DELETE"),
        ("DELETE", 308, "DELETE"),
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("HEAD", 301, "HEAD"),
        ("HEAD", 303, "HEAD"),
    ],
)
def test_the_method_after_a_redirect(method: str, status: int, expected: str) -> None:
    after = redirect_request(Send(RequestHead(method, "http://h/a", (("Content-Type", "j"),)), b"{}"), status, "/b")
    assert after.head.method == expected
    assert (after.body is None) == (expected == "GET")
    assert (after.head.headers == ()) == (expected == "GET")


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (405, errors.APIStatusError),
        (409, errors.ConflictError),
        (422, errors.UnprocessableEntityError),
        (429, errors.RateLimitError),
        (500, errors.InternalServerError),
        (599, errors.InternalServerError),
    ],
)
def test_errors_by_status(status: int, kind: type[errors.APIStatusError]) -> None:
    assert type(responses.status_error(head(status), b"")) is kind


def test_every_error_can_be_pickled() -> None:
    error = responses.status_error(
        head(404, x_request_id="req_1", retry_after="3"), b'{"error": {"message": "no", "code": "c", "param": "p"}}'
    )
    made: list[errors.FilesteadError] = [
        error,
        responses.validation_error(head(), "odd", b"x"),
        errors.APITimeoutError("late"),
        errors.IntegrityError("cut"),
    ]
    for before in made:
        after = pickle.loads(pickle.dumps(before))
        assert type(after) is type(before)
        assert (str(after), vars(after), after.args) == (str(before), vars(before), before.args)
    assert (error.code, error.param, error.retry_after, error.request_id) == ("c", "p", "3", "req_1")
    assert str(error) == "Error code: 404 - no (request id: req_1)"


def test_content_can_be_pickled() -> None:
    download = Download("file-1", max_retries=0)
    download.begin_response(head(content_disposition='attachment; filename="a.txt"'))
    content = download.content([download.feed(b"abc")])
    again = pickle.loads(pickle.dumps(content))
    assert (again, again.filename, again.sha256) == (content, "a.txt", content.sha256)


# --- downloads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "strong"),
    [('"abc"', True), (' "abc" ', True), ('W/"abc"', False), ("abc", False), ('"a"b"', False), ('"a b"', False)],
)
def test_only_strong_validators_join_bytes(value: str, strong: bool) -> None:
    assert (headers.strong_etag(head(etag=value)) is not None) == strong
    download = Download("file-1", max_retries=0, restartable=True)
    download.begin_response(head(etag=value, content_length="10"))
    assert download.resumable == strong


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('attachment; filename="a b.txt"', "a b.txt"),
        ('attachment; filename="a\\"b.txt"', 'a"b.txt'),
        ("attachment; filename=a.txt; x=y", "a.txt"),
        ("attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A9.txt", "é.txt"),
        ("attachment; filename*=utf-8'en'%e2%82%ac; filename=\"_\"", "€"),
        ("attachment; filename*=utf-8''%ff", "\ufffd"),
        ("attachment", None),
        ("", None),
    ],
)
def test_filenames_in_content_disposition(value: str, name: str | None) -> None:
    assert headers.content_filename(head(content_disposition=value)) == name


@pytest.mark.parametrize(
    "value", ["", "sha-256=:AAAA:", "sha-256=:not base64!:", "sha-512=:" + "A" * 86 + "==:", "md5=:AAAA:"]
)
def test_invalid_digests_are_ignored(value: str) -> None:
    download = Download("file-1", max_retries=0)
    download.begin_response(head(repr_digest=value))
    download.feed(b"abc")
    assert download.end_response()


def test_a_body_longer_than_announced_raises() -> None:
    download = Download("file-1", max_retries=0, restartable=True)
    download.begin_response(head(content_length="3", etag='"e"'))
    with pytest.raises(errors.IntegrityError, match="has 3 bytes, and the server sends more"):
        download.feed(b"abcd")
    assert not download.resumable


def test_a_short_body_is_resumed() -> None:
    download = Download("file-1", max_retries=1, restartable=True)
    assert download.begin_response(head(content_length="10", etag='"e"')) is ResponseAction.RESTART
    download.feed(b"abc")
    assert not download.end_response()
    assert download.retry_delay(None) == 0.0
    assert download.request().headers[-2:] == (("Range", "bytes=3-"), ("If-Range", '"e"'))
    part = head(206, content_range="bytes 3-5/10", etag='"e"')
    assert download.begin_response(part) is ResponseAction.APPEND
    download.feed(b"def")
    assert not download.end_response()
    assert download.retry_delay(None) == 0.0
    download.begin_response(head(206, content_range="bytes 6-9/10", etag='"e"'))
    download.feed(b"ghij")
    assert download.end_response()


def test_retries_without_progress_are_limited() -> None:
    broken = errors.APIConnectionError("broken")
    # The same three bytes again and again are no progress.
    download = Download("file-1", max_retries=2, restartable=True)

    def break_off() -> float:
        download.begin_response(head(content_length="1000"))
        download.feed(b"abc")
        return download.retry_delay(broken)

    assert break_off() == 0.0
    assert break_off() > 0
    with pytest.raises(errors.IntegrityError) as caught:
        break_off()
    assert caught.value.__cause__ is broken
    late = Download("file-1", max_retries=0)
    with pytest.raises(errors.APITimeoutError):
        late.retry_delay(errors.APITimeoutError("late"))


# --- parts on the disk ----------------------------------------------------------------------------------------------


def test_a_part_has_one_writer(tmp_path: Path) -> None:
    target = tmp_path / "out"
    first = partial_file.PartialFile(target, "file-1", resume=True)
    second = partial_file.PartialFile(target, "file-1", resume=True)
    first.restart('"e"')
    second.restart('"e"')
    first.write(b"first")
    second.write(b"second")
    second.commit()
    assert target.read_bytes() == b"second"
    first.close(keep_partial=True)
    assert (tmp_path / ".out.file-1.part").read_bytes() == b"first"
    third = partial_file.PartialFile(target, "file-1", resume=True)
    assert (third.etag, third.size, third.digest().name) == ('"e"', 5, "sha256")
    third.close(keep_partial=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_part_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".out.file-1.part").symlink_to(tmp_path / "precious")
    part = partial_file.PartialFile(tmp_path / "out", "file-1", resume=True)
    part.restart('"e"')
    part.write(b"new")
    part.commit()
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "out").read_bytes() == b"new"
    assert (tmp_path / ".out.file-1.part").is_symlink()
