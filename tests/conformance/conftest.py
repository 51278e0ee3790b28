"""The stores under test. A new backend joins the suite by a new parameter of these fixtures; the tests never ask which."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from filestead.blobs.local.store import LocalBlobs
from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.store import S3Blobs
from filestead.domain.blobs import BlobStore
from tests.support.databases import BACKENDS, Rows
from tests.support.seaweedfs import shared_server


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.rotating(3) if name == "pgbouncer" else ()) for name in BACKENDS]
)
async def rows(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rows]:
    with BACKENDS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    store: LocalBlobs | S3Blobs
    if request.param == "s3":
        seaweed = shared_server()
        store = S3Blobs(
            Bucket(
                seaweed.bucket,
                f"conformance/{secrets.token_hex(8)}",
                endpoint=seaweed.endpoint,
                credentials=seaweed.credentials,
            ),
            tmp_path,
        )
    else:
        store = LocalBlobs(tmp_path, reserve_bytes=0)
    store.open("inst-test", fresh=True)
    yield store
    store.close()
