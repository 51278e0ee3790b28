"""Opening the blob store that a URL names. The driver is imported only here, and only when a URL is given."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filestead.blobs.s3.signing import Credentials
from filestead.domain.errors import CannotStart
from filestead.egress import Egress, names_link_local, origin_of

if TYPE_CHECKING:
    from filestead.blobs.s3.store import S3Blobs


def open_blob_store(
    url: str,
    *,
    endpoint: str | None,
    region: str | None,
    environ: Mapping[str, str],
    spool: Path | None = None,
    allow_link_local: bool = False,
) -> "S3Blobs":
    """The store at `s3://bucket/prefix`; touches no network, which `S3Blobs.open` does first. `CannotStart`.

    The driver finds credentials by itself (`AWS_*` variables, web identity, container, instance). Those of `environ`
    are also used for what the driver cannot do: links for downloads, and dropping what killed uploads left. `spool` is
    where uploads wait for their turn (default: the system's folder for temporary files).
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
        from filestead.blobs.s3.store import S3Blobs  # noqa: PLC0415 - the embedded server does without the driver
    except ImportError:
        raise CannotStart("s3:// needs the driver of object stores: pip install 'filestead[s3]'") from None
    address, name = _address(endpoint, environ)
    region = region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    credentials = _credentials(environ)
    called = {name: address or f"https://s3.{region}.amazonaws.com"}
    if credentials is None:
        called |= _sources(environ, region)
    egress = _egress(called, allow_link_local=allow_link_local)
    return S3Blobs(
        parts.netloc,
        parts.path.strip("/"),
        endpoint=address,
        region=region,
        credentials=credentials,
        egress=egress,
        spool=spool,
    )


def _address(endpoint: str | None, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The address of the store, if it is not Amazon's, and the name of the setting that has it."""
    if endpoint is not None:
        return endpoint, "FILESTEAD_S3_ENDPOINT"
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if environ.get(name):
            return environ[name], name
    return None, "the endpoint of the object store"


def _sources(environ: Mapping[str, str], region: str) -> dict[str, str]:
    """Where the driver gets credentials that it is not given, by name, in the order in which it looks."""
    if environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return {"AWS_ENDPOINT_URL_STS": environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.amazonaws.com"}
    if environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "http://169.254.170.2"}
    if environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]}
    return {"the role of the instance": environ.get("AWS_METADATA_ENDPOINT") or "http://169.254.169.254"}


def _egress(called: Mapping[str, str], *, allow_link_local: bool) -> Egress:
    """The origins that the driver needs; `CannotStart` names the setting of one that may not be called."""
    origins = []
    for name, url in called.items():
        try:
            origin = origin_of(url)
        except ValueError as error:
            raise CannotStart(f"{name}: {error}; write http://host:port or https://host") from None
        if names_link_local(origin) and not allow_link_local:
            raise CannotStart(
                f"{name} is at the link-local address {origin.host}, which is not called unless it is allowed: set "
                "FILESTEAD_ALLOW_LINK_LOCAL=true, or give another address (credentials also come as AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY)"
            )
        origins.append(origin)
    return Egress(origins, allow_link_local=allow_link_local)


def _credentials(environ: Mapping[str, str]) -> Credentials | None:
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    return Credentials(key, secret, environ.get("AWS_SESSION_TOKEN")) if key and secret else None
