"""Both clients over TLS: operations, an untrusted certificate, an early response."""

import asyncio
import contextlib
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filestead import APIConnectionError, APIStatusError
from tests.client.proxy import Fault, raw_response
from tests.support.preflight import find
from tests.support.servers import Server

CONTENT = os.urandom(2_000_001)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    if find("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is not installed, and CI must have it")
        pytest.skip("openssl is not installed: there is no certificate to test with")
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", *options, "-keyout", path, "-out", path.with_suffix(".crt")]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


class Tunnel:
    """Terminates TLS: forwards connections to a port, or responds itself after the first bytes."""

    def __init__(self, certificate: Path, port: int | None, reply: bytes = b"") -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._port, self._reply = port, reply
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(30)

    def _run(self, started: threading.Event) -> None:
        async def serve() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
            self.base_url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            self._loop.call_soon(started.set)

        self._loop.run_until_complete(serve())
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self._port is None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self._reply)
                await writer.drain()
                while await reader.read(65536):
                    pass
                return
            upstream, outgoing = await asyncio.open_connection("127.0.0.1", self._port)
            await asyncio.gather(_copy(reader, outgoing), _copy(upstream, writer))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()


@pytest.fixture
def tunnel(server: Server, certificate: Path) -> Iterator[Tunnel]:
    tunnel = Tunnel(certificate, server.port)
    yield tunnel
    tunnel.close()


@pytest.fixture
def _trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))


@pytest.mark.usefixtures("_trusted")
def test_every_operation_over_tls(connect: Any, tunnel: Tunnel, tmp_path: Path) -> None:
    client = connect(base_url=tunnel.base_url)
    for source in (CONTENT, iter([CONTENT])):
        created = client.create_file(source, "vision")
        assert client.retrieve_file(created.id) == created
        assert client.download_file(created.id, tmp_path / "out").read_bytes() == CONTENT
        assert b"".join(client.stream_file(created.id)) == CONTENT
        assert client.delete_file(created.id).deleted


def test_untrusted_certificates_are_rejected(connect: Any, connect_with_faults: Any, tunnel: Tunnel) -> None:
    with pytest.raises(APIConnectionError, match=r"(?i)certificate"):
        connect(base_url=tunnel.base_url, max_retries=0).list_files()
    # A redirect from http does not lower the guard.
    client, _ = connect_with_faults(
        Fault(response=raw_response("307 X", f"Location: {tunnel.base_url}/files")), max_retries=0
    )
    with pytest.raises(APIConnectionError, match=r"(?i)certificate"):
        client.list_files()


@pytest.mark.usefixtures("_trusted")
def test_a_redirect_to_tls_on_another_port_drops_credentials(connect_with_faults: Any, tunnel: Tunnel) -> None:
    client, _ = connect_with_faults(Fault(response=raw_response("307 X", f"Location: {tunnel.base_url}/files")))
    with pytest.raises(APIStatusError, match="didn't provide an API key"):  # Another origin: no credentials.
        client.list_files()


@pytest.mark.usefixtures("_trusted")
def test_an_early_response_over_tls(connect: Any, certificate: Path) -> None:
    reply = raw_response("413 Too Large", body=b'{"error": {"message": "too large"}}')
    early = Tunnel(certificate, None, reply)
    client = connect(base_url=early.base_url, max_retries=0)
    try:
        with pytest.raises(APIStatusError, match="too large"):
            client.create_file((b"x" * 262_144 for _ in range(100)), "v")
    finally:
        early.close()
