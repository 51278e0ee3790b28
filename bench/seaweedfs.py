"""SeaweedFS as the reference of small uploads: PUT of objects to its S3 gateway, each synced to disk."""

import contextlib
import http.client
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.load import wrk
from bench.plan import Bench, CannotMeasure, WrongAnswer, find_program
from bench.production import temporary_files_in
from filestead.blobs.s3.signing import Signer
from tests.support.seaweedfs import REGION, SeaweedServer

SCRIPT = Path(__file__).with_name("put.lua")
LINKS = 20_000
"""Signed before each round. More requests than that write the same objects again."""
LINK_SECONDS = 600
CONFIGURATION = "/etc/seaweedfs/filer.conf"
CONFIGURED_SECONDS = 1.0
"""The filer applies its configuration when it hears that the file has changed."""
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class SyncedStore:
    """A running store whose volumes sync each write."""

    bench: Bench
    weed: SeaweedServer

    def put_for(self, seconds: int, size: int) -> float:
        """PUTs a second of objects of `size` bytes, on 16 connections."""
        body, paths = self.bench.directory / f"object-{size}", self.bench.directory / "links"
        body.write_bytes(b"x" * size)
        signer = Signer(self.weed.endpoint, self.weed.bucket, REGION, self.weed.credentials, time.time)
        prefix = f"small-{next(_numbers)}"
        links = (signer.url("PUT", f"{prefix}/{number}", {}, seconds=LINK_SECONDS) for number in range(LINKS))
        paths.write_text("".join(link.removeprefix(self.weed.endpoint) + "\n" for link in links))
        rate = wrk(self.weed.endpoint, seconds, script=SCRIPT, arguments=(body, paths), authorization=None).rate
        if not self.weed.objects(prefix):
            raise WrongAnswer("SeaweedFS answered PUTs, and has no object")
        return rate


@contextlib.contextmanager
def synced_store(bench: Bench) -> Iterator[SyncedStore | None]:
    """Started for one measure and removed with all it holds; None where it is not installed."""
    try:
        find_program("weed")
    except CannotMeasure:
        yield None
        return
    with temporary_files_in(bench.directory):
        weed = SeaweedServer()
    try:
        _sync_each_write(weed)
        yield SyncedStore(bench, weed)
    finally:
        weed.stop()


def _sync_each_write(weed: SeaweedServer) -> None:
    rules = {"locations": [{"locationPrefix": "/buckets/", "fsync": True}]}
    connection = http.client.HTTPConnection("127.0.0.1", weed.filer_port, timeout=20)
    try:
        connection.request("PUT", CONFIGURATION, json.dumps(rules))
        response = connection.getresponse()
        response.read()
        if response.status not in {200, 201}:
            raise WrongAnswer(f"SeaweedFS did not take its configuration: {response.status}")
    finally:
        connection.close()
    time.sleep(CONFIGURED_SECONDS)
