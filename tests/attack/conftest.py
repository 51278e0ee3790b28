"""An object store that answers as a test likes, another origin, and our store of blobs over the first."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.store import S3Blobs
from tests.attack.hostile_store import HostileStore, Request, reply
from tests.attack.store_calls import FOREIGN, SECRETS


@pytest.fixture
def store() -> Iterator[HostileStore]:
    with HostileStore() as running:
        yield running


@pytest.fixture
def trap() -> Iterator[HostileStore]:
    """Another origin, that answers whatever is asked with what a store would."""

    def answer(request: Request) -> bytes:
        head = {"etag": '"x"', "last_modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        if request.method == "HEAD":
            return b"HTTP/1.1 200 X\r\ncontent-length: 23\r\netag: x\r\nlast-modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n"
        return reply(200, FOREIGN, **head)

    with HostileStore(answer) as running:
        yield running


@pytest.fixture
def blobs(store: HostileStore, tmp_path: Path) -> Iterator[S3Blobs]:
    opened = S3Blobs(Bucket("bucket", "p", endpoint=store.endpoint, credentials=SECRETS), tmp_path)
    yield opened
    opened.close()
