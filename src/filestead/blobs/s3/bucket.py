"""Requests to one bucket. Each is bounded in time, its errors are translated, and the breaker records its outcome."""

import asyncio
import base64
import contextlib
import functools
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from filestead.blobs.breaker import Breaker
from filestead.blobs.keys import KEY
from filestead.blobs.s3.errors import translate_s3_errors
from filestead.blobs.s3.incomplete import IncompleteUploads
from filestead.blobs.s3.objects import ObjectReader
from filestead.blobs.s3.proxy import DriverProxy
from filestead.blobs.s3.signing import Credentials, Signer
from filestead.domain.errors import BlobNotFound, BlobStoreUnavailable, DomainError, StorageFailed
from filestead.egress import PORTS, Egress, origin_of

if TYPE_CHECKING:
    from obstore.store import S3Config

log = logging.getLogger("filestead")

CREATE_OPERATION = "creating a blob"
CONNECT_SECONDS = 2.0
RESPONSE_SECONDS = 5.0
"""Until the first byte of a response, all attempts included."""

WRITE_SECONDS = 13.0
"""For one request that sends a part; a part has 15 seconds in all (`multipart.py`)."""

SIGNED_SECONDS = 20 * 60
"""How long a signature of the driver is valid: longer than clocks may differ. The URL does not leave the process."""

MIN_BYTES_PER_SECOND = 1024 * 1024
"""The body of a request extends its time limit by one second for so many bytes."""

MAX_ATTEMPTS = 5
THREADS = 8


class ObjectInfo(NamedTuple):
    """What the store says about an object."""

    size: int
    etag: str


class Bucket:
    """The objects below `prefix`. Paths are relative to the prefix, names are not."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str = "us-east-1",
        credentials: Credentials | None = None,
        customer_key: str | None = None,
        egress: Egress | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Without `egress`, only the store itself may be connected to.

        `customer_key` (base64) is that with which the store encrypts (SSE-C). The driver takes it from the environment.
        """
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._prefix = prefix
        address = _normalized(endpoint or f"https://s3.{region}.amazonaws.com")
        egress = egress or Egress([origin_of(address)])
        self.proxy = DriverProxy(egress)
        self.signer: Signer | None = None
        self.incomplete: IncompleteUploads | None = None
        config: S3Config = {"region": region, "endpoint": address, "virtual_hosted_style_request": False}
        if credentials is not None:
            self.signer = Signer(address, bucket, region, credentials, clock)
            self.incomplete = IncompleteUploads(self.signer, egress)
            config["access_key_id"] = credentials.access_key_id
            config["secret_access_key"] = credentials.secret_access_key
            if credentials.session_token is not None:
                config["session_token"] = credentials.session_token
        make = functools.partial(_make_client, bucket, prefix, config, self.proxy.url)
        self.client, self.writer = map(make, (RESPONSE_SECONDS, WRITE_SECONDS))
        self.reader = ObjectReader(address, egress, self._sign_read, CONNECT_SECONDS)
        self._customer_headers = {} if customer_key is None else _customer_headers(customer_key)
        self.breaker = Breaker(time.monotonic)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="filestead-s3")

    def close(self) -> None:
        """Wait for running operations."""
        self._pool.shutdown()
        self.reader.close()
        self.proxy.close()

    def name(self, path: str) -> str:
        """The object's name in the bucket."""
        return f"{self._prefix}/{path}".lstrip("/")

    async def _sign_read(self, path: str) -> tuple[str, Mapping[str, str]]:
        """Sign a GET of an object: with the credentials that were given, or those that the driver finds."""
        if self.signer is not None:
            return self.signer.read_request(self.name(path), self._customer_headers)
        parts = urlsplit(await obstore.sign_async(self.client, "GET", path, timedelta(seconds=SIGNED_SECONDS)))
        return f"{parts.path}?{parts.query}", {}

    def run(self, function: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """Run a blocking function on a thread."""
        return asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(function, *args))

    @contextlib.asynccontextmanager
    async def request(
        self, operation: str, seconds: float = RESPONSE_SECONDS, *, key: str = ""
    ) -> AsyncGenerator[None]:
        """Around a request: rejected while the breaker is open, bounded, translated and recorded."""
        self.breaker.require_closed()
        with self.recorded(operation, key):
            async with asyncio.timeout(seconds):
                yield

    @contextlib.contextmanager
    def recorded(self, operation: str, key: str = "") -> Iterator[None]:
        """Translate errors of the driver, and let the breaker record the outcome."""
        try:
            with translate_s3_errors(operation, key):
                yield
        except BlobStoreUnavailable:
            self.breaker.record_failure()
            raise
        except DomainError:
            self.breaker.record_success()  # the store did respond
            raise
        self.breaker.record_success()

    async def head(self, path: str) -> ObjectInfo | None:
        """Return size and ETag of an object; None if there is none."""
        try:
            async with self.request("looking up a blob"):
                meta = await obstore.head_async(self.client, path)
        except BlobNotFound:
            return None
        return ObjectInfo(meta["size"], unquoted(meta["e_tag"]))

    async def create(self, path: str, data: bytes) -> str:
        """Create an object in one request and return its ETag. Raises `ObjectExists`."""
        async with self.request(CREATE_OPERATION, RESPONSE_SECONDS + len(data) / MIN_BYTES_PER_SECOND):
            result = await obstore.put_async(self.writer, path, data, mode="create", use_multipart=False)
        return unquoted(result["e_tag"])

    async def delete(self, path: str) -> None:
        """Delete an object, and abort every multipart upload to it."""
        await self.abort_uploads(path)
        with contextlib.suppress(BlobNotFound):
            async with self.request("deleting a blob"):
                await obstore.delete_async(self.client, path)

    async def abort_uploads(self, path: str) -> None:
        """Abort every multipart upload to an object, as far as credentials were given."""
        if self.incomplete is not None:
            async with self.request("aborting incomplete uploads"):
                if aborted := await self.run(self.incomplete.abort, self.name(path)):
                    log.info("aborted %d incomplete uploads", aborted)


def _normalized(address: str) -> str:
    """The address with the host as clients sign and send it: in lower case, and without the default port."""
    parts = urlsplit(address)
    default = f":{PORTS.get(parts.scheme)}"
    return parts._replace(netloc=parts.netloc.lower().removesuffix(default)).geturl()


def _customer_headers(key: str) -> dict[str, str]:
    """What a request for an object has to name that the store encrypts with this key (base64)."""
    digest = hashlib.md5(base64.b64decode(key), usedforsecurity=False).digest()
    prefix = "x-amz-server-side-encryption-customer"
    return {
        f"{prefix}-algorithm": "AES256",
        f"{prefix}-key": key,
        f"{prefix}-key-md5": base64.b64encode(digest).decode(),
    }


def _make_client(bucket: str, prefix: str, config: "S3Config", proxy_url: str, seconds: float) -> S3Store:
    """A client whose single requests take at most `seconds`, including the body of the response."""
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,
        client_options={
            "allow_http": config["endpoint"].startswith("http://"),
            "proxy_url": proxy_url,
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=seconds),
        },
        retry_config={
            "max_retries": MAX_ATTEMPTS - 1,
            # No attempt starts later than this, so that the last one can still complete in time.
            "retry_timeout": timedelta(seconds=RESPONSE_SECONDS - CONNECT_SECONDS),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2},
        },
    )


def blob_path(key: str) -> str:
    """The path of a blob."""
    if not KEY.fullmatch(key):  # a tampered row must not become a path
        raise StorageFailed("not a blob key")
    return f"blobs/{key[:2]}/{key}"


def unquoted(etag: str | None) -> str:
    """The ETag without its quotes."""
    return (etag or "").strip('"')
