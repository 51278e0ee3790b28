"""Creating the blob store for a URL. The driver is imported only here, and only if a URL is configured."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filestead.blobs.s3.signing import Credentials
from filestead.domain.errors import CannotStart
from filestead.domain.observation import UNOBSERVED, Observer
from filestead.egress import Egress, is_link_local_origin, origin_of

if TYPE_CHECKING:
    from filestead.blobs.s3.store import S3Blobs


def open_blob_store(
    url: str,
    *,
    endpoint: str | None,
    region: str | None,
    environ: Mapping[str, str],
    spool_folder: Path | None = None,
    allow_link_local: bool = False,
    observer: Observer = UNOBSERVED,
) -> "S3Blobs":
    """The store at `s3://bucket/prefix`. Connects to nothing; `S3Blobs.open` is the first to. `CannotStart`.

    The driver finds credentials by itself (`AWS_*` variables, web identity, container, instance). Those in `environ`
    are also used for what the driver does not offer: presigned downloads, and aborting uploads of killed processes.
    Parts of uploads are spooled in `spool_folder` (default: the system's folder for temporary files).
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise CannotStart(
            "FILESTEAD_BLOB_URL must not hold a user name or a password: give credentials as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, and write s3://bucket/prefix"
        )
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise CannotStart(f"{parts.scheme}://{parts.hostname or ''} is not a blob store: write s3://bucket/prefix")
    try:
        from filestead.blobs.s3.bucket import Bucket  # noqa: PLC0415
        from filestead.blobs.s3.store import S3Blobs  # noqa: PLC0415 - the embedded server does without the driver
    except ImportError:
        raise CannotStart("s3:// needs the driver of object stores: pip install 'filestead[s3]'") from None
    address, name = _address(endpoint, environ)
    region = region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    credentials = _credentials(environ)
    customer_key = None
    if environ.get("AWS_SERVER_SIDE_ENCRYPTION", "").lower() == "sse-c":
        customer_key = _customer_key(environ, credentials)
    urls = {name: address or f"https://s3.{region}.amazonaws.com"}
    if credentials is None:
        urls |= _credential_sources(environ, region)
    egress = _egress(urls, allow_link_local=allow_link_local)
    prefix = parts.path.strip("/")
    bucket = Bucket(
        parts.netloc,
        prefix,
        endpoint=address,
        region=region,
        credentials=credentials,
        customer_key=customer_key,
        egress=egress,
    )
    bucket.breaker.changed = observer.breaker
    return S3Blobs(bucket, spool_folder)


def _customer_key(environ: Mapping[str, str], credentials: Credentials | None) -> str:
    """The key that the driver and our reads name to the store (SSE-C). `CannotStart`."""
    key = environ.get("AWS_SSE_CUSTOMER_KEY_BASE64", "")
    try:
        size = len(base64.b64decode(key, validate=True))
    except ValueError:
        size = 0
    if size != 32:
        raise CannotStart("sse-c (AWS_SERVER_SIDE_ENCRYPTION) needs 32 bytes in base64 as AWS_SSE_CUSTOMER_KEY_BASE64")
    if credentials is None:
        raise CannotStart(
            "sse-c (AWS_SERVER_SIDE_ENCRYPTION) needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: the requests of a "
            "role cannot name the key"
        )
    return key


def _address(endpoint: str | None, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The address of the store, if it is not Amazon's, and the name of the setting for it."""
    if endpoint is not None:
        return endpoint, "FILESTEAD_S3_ENDPOINT"
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if environ.get(name):
            return environ[name], name
    return None, "the endpoint of the object store"


def _credential_sources(environ: Mapping[str, str], region: str) -> dict[str, str]:
    """Where the driver looks for credentials if none are configured: the URL by the name of its setting."""
    if environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return {"AWS_ENDPOINT_URL_STS": environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.amazonaws.com"}
    if environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "http://169.254.170.2"}
    if environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]}
    return {"the role of the instance": environ.get("AWS_METADATA_ENDPOINT") or "http://169.254.169.254"}


def _egress(urls: Mapping[str, str], *, allow_link_local: bool) -> Egress:
    """Allow the origins that the driver needs. `CannotStart` names the setting of one that is not allowed."""
    origins = []
    for name, url in urls.items():
        try:
            origin = origin_of(url)
        except ValueError as error:
            raise CannotStart(f"{name}: {error}; write http://host:port or https://host") from None
        if is_link_local_origin(origin) and not allow_link_local:
            raise CannotStart(
                f"{name} is the link-local address {origin.host}, which is refused by default: set "
                "FILESTEAD_ALLOW_LINK_LOCAL=true, or set another address (credentials may also be given as "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            )
        origins.append(origin)
    return Egress(origins, allow_link_local=allow_link_local)


def _credentials(environ: Mapping[str, str]) -> Credentials | None:
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    return Credentials(key, secret, environ.get("AWS_SESSION_TOKEN")) if key and secret else None
