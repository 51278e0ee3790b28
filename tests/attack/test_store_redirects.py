"""The object store is not trusted: what it sends leads nowhere else."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.opening import open_blob_store
from filestead.blobs.s3.store import S3Blobs
from filestead.domain.errors import BlobNotFound, CannotStart, DomainError
from filestead.egress import DestinationRefused, Egress, Origin, is_link_local, origin_of
from tests.attack.hostile_store import HostileStore, reply
from tests.attack.store_calls import CALLS, SECRETS, Call, by_name, delete, get, head, put_small, strays

pytestmark = pytest.mark.anyio

STATUSES = (300, 301, 302, 303, 305, 307, 308)


@pytest.mark.parametrize("call", CALLS, ids=by_name)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.timing
async def test_no_redirect_is_followed(
    blobs: S3Blobs, store: HostileStore, trap: HostileStore, call: Call, status: int
) -> None:
    store.answer = lambda request: reply(status, location=f"{trap.endpoint}{request.target}")
    started = time.monotonic()
    with pytest.raises(DomainError) as refused:
        await call(blobs)
    assert trap.seen == [], "the other origin heard of it"
    assert not isinstance(refused.value, BlobNotFound)
    assert time.monotonic() - started < 10
    assert "our-" not in str(refused.value)


@pytest.mark.parametrize(
    "location",
    [
        "//127.0.0.1:{trap}/x", "http://localhost:{trap}/x", "http://0x7f.1:{trap}/x", "http://[::ffff:127.0.0.1]:{trap}/",
        "HTTP://127.0.0.1:{trap}", "http://user:word@127.0.0.1:{trap}/x", "http:\\\\127.0.0.1:{trap}\\x", "/elsewhere", "",
        "http://127.0.0.1:{store}/elsewhere", "http://169.254.169.254/latest/meta-data/", "https://127.0.0.1:{trap}/x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("call", [get, head, put_small], ids=by_name)
async def test_no_form_of_location_is_followed(
    blobs: S3Blobs, store: HostileStore, trap: HostileStore, call: Call, location: str
) -> None:
    where = location.format(trap=trap.port, store=store.port)
    store.answer = lambda request: reply(307, location=where)
    with pytest.raises(DomainError):
        await call(blobs)
    assert trap.seen == []
    assert not [request for request in store.seen if "elsewhere" in request.target]


async def test_a_redirect_says_so(blobs: S3Blobs, store: HostileStore, caplog: pytest.LogCaptureFixture) -> None:
    store.answer = lambda request: reply(301, location="https://elsewhere.example/")
    with pytest.raises(DomainError, match="answered with a redirect, which is never followed"):
        await get(blobs)
    assert f"127.0.0.1:{store.port} answered with a redirect (301)" in caplog.text


async def test_over_https_a_redirect_comes_no_further_than_the_store(
    trap: HostileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is in a tunnel is not read, but the next tunnel leads to the store, too."""
    certificate = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-keyout", str(tmp_path / "key.pem"), "-out", str(certificate), "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"),
        ],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    served: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply(307, location=f"https://127.0.0.1:{trap.port}/x", connection="close"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    blobs = S3Blobs(Bucket("bucket", "p", endpoint=f"https://127.0.0.1:{port}", credentials=SECRETS))
    try:
        for call in (get, head, put_small):
            with pytest.raises(DomainError):
                await call(blobs)
        assert served, "the store was reached"
        assert trap.seen == []
        assert "was refused: this destination is not configured" in caplog.text
    finally:
        blobs.close()
        server.close()


# --- what is asked to be called -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "endpoint", "environ", "words"),
    [
        ("s3://key:hunter2@bucket/p", None, {}, "FILESTEAD_BLOB_URL must not hold a user name or a password"),
        ("s3://hunter2@bucket/p", None, {}, "FILESTEAD_BLOB_URL must not hold"),
        ("s3://b/p", "http://key:hunter2@store:9000", {}, "FILESTEAD_S3_ENDPOINT: it must not hold a user name"),
        ("s3://b/p", None, {"AWS_ENDPOINT_URL": "http://k:hunter2@store"}, "it must not hold a user name"),
        ("s3://b/p", None, {"AWS_ENDPOINT_URL_S3": "http://hunter2@store"}, "it must not hold a user name"),
        ("s3://b/p", "http://169.254.169.254", {}, "FILESTEAD_ALLOW_LINK_LOCAL"),
        ("s3://b/p", "http://[fe80::1]:9000", {}, "FILESTEAD_ALLOW_LINK_LOCAL"),
        ("s3://b/p", "http://[::ffff:169.254.1.1]:9000", {}, "FILESTEAD_ALLOW_LINK_LOCAL"),
        ("s3://b/p", "http://store:hunter2", {}, "FILESTEAD_S3_ENDPOINT: it cannot be read as a URL"),
        ("s3://b/p", "ftp://store", {}, "must begin with http:// or https://"),
        ("s3://b/p", "http://", {}, "names no host"),
    ],
)  # fmt: skip
def test_a_store_that_is_not_to_be_called_is_refused(
    url: str, endpoint: str | None, environ: dict[str, str], words: str
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with pytest.raises(CannotStart) as refused:
        open_blob_store(url, endpoint=endpoint, region=None, environ={**keys, **environ})
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "allowed"),
    [
        ({}, False),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}, False),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"}, False),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:8000/x"}, True),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "r"}, True),
    ],
)
def test_credentials_from_link_local_addresses_are_asked_for_where_allowed(
    environ: dict[str, str], allowed: bool
) -> None:
    def opened(**options: bool) -> None:
        open_blob_store("s3://bucket", endpoint=None, region=None, environ=environ, **options).close()

    if allowed:
        opened()
    else:
        with pytest.raises(CannotStart, match="FILESTEAD_ALLOW_LINK_LOCAL=true"):
            opened()
    opened(allow_link_local=True)


def test_a_name_for_a_link_local_address_is_refused_when_it_is_resolved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it resolves to something else at first."""
    address = "127.0.0.1"
    connected: list[object] = []
    genuine = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: object, **options: object) -> object:
        if host != "store.example":
            connected.append(host)
            return genuine(host, port, *rest, **options)  # type: ignore[arg-type]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with HostileStore(
        lambda request: reply(
            200, b"inst-ours\n", etag="x", last_modified="Mon, 01 Jan 2024 00:00:00 GMT", connection="close"
        )
    ) as well:
        blobs = S3Blobs(Bucket("bucket", "p", endpoint=f"http://store.example:{well.port}", credentials=SECRETS))
        with contextlib.suppress(CannotStart):
            blobs.open("inst-ours", fresh=False)
        assert well.seen, "it was the store at first"
        address = "169.254.169.254"
        for call in (head, delete, strays):
            with pytest.raises(DomainError):
                asyncio.run(call(blobs))
        blobs.close()
    assert "link-local" in caplog.text
    assert "169.254.169.254" not in connected


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("169.254.0.1", True), ("169.254.169.254", True), ("fe80::1", True), ("fe80::1%eth0", True), ("febf::1", True),
        ("::ffff:169.254.169.254", True), ("::169.254.169.254", True), ("64:ff9b::a9fe:a9fe", True),
        ("2002:a9fe:a9fe::1", True), ("fd00:ec2::254", True), ("100.100.100.200", True), ("168.63.129.16", True),
        ("127.0.0.1", False), ("::1", False), ("10.0.0.1", False), ("192.168.1.1", False), ("fd12::1", False),
        ("169.253.255.255", False), ("2001:db8::1", False), ("64:ff9b::808:808", False),
    ],
)  # fmt: skip
def test_what_is_link_local(host: str, refused: bool) -> None:
    assert is_link_local(host) is refused
    egress = Egress([Origin("x", 80)])
    if refused:
        with pytest.raises(DestinationRefused):
            egress.allowed_addresses([(socket.AF_INET, host)])
    assert Egress([], allow_link_local=True).allowed_addresses([(socket.AF_INET, host)])


def test_only_configured_origins_are_called() -> None:
    egress = Egress([origin_of("https://Store.Example./path")])
    egress.require_configured(Origin("store.example", 443))
    egress.require_configured(Origin("STORE.example.", 443))
    for other in (Origin("store.example", 80), Origin("store.example.evil", 443), Origin("", 443)):
        with pytest.raises(DestinationRefused):
            egress.require_configured(other)
