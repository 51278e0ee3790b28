"""A store in a fresh place of a real S3 server, with a faulty proxy between them."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.store import S3Blobs
from tests.stores.proxy import FaultyProxy
from tests.support.seaweedfs import SeaweedServer, shared_server


@dataclass
class Place:
    """Where a test's objects are, with and without the proxy."""

    seaweed: SeaweedServer
    proxy: FaultyProxy
    prefix: str
    spool: Path

    def store(self, *, direct: bool = False, **options: Any) -> S3Blobs:
        endpoint = self.seaweed.endpoint if direct else self.proxy.endpoint
        options = {"credentials": self.seaweed.credentials, "endpoint": endpoint, **options}
        return S3Blobs(Bucket(self.seaweed.bucket, self.prefix, **options), self.spool)

    def remains(self) -> tuple[int, int]:
        """Unfinished uploads and objects."""
        return self.seaweed.unfinished(self.prefix), self.seaweed.objects(f"{self.prefix}/blobs/")


@pytest.fixture(scope="session")
def seaweed() -> SeaweedServer:
    return shared_server()


@pytest.fixture
def place(seaweed: SeaweedServer, tmp_path: Path) -> Iterator[Place]:
    with FaultyProxy(seaweed.port) as proxy:
        yield Place(seaweed, proxy, f"stores/{secrets.token_hex(8)}", tmp_path)


@pytest.fixture
def blobs(place: Place) -> Iterator[S3Blobs]:
    """The store behind the proxy, which is well until a test gives it a plan."""
    store = place.store()
    store.open("inst-test", fresh=True)
    yield store
    store.close()
