"""Opening the blob store that a URL names. The driver is imported only here, and only when a URL is given."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filestead.blobs.s3_signing import Credentials
from filestead.domain.errors import CannotStart

if TYPE_CHECKING:
    from filestead.blobs.s3 import S3Blobs


def from_url(
    url: str, *, endpoint: str | None, region: str | None, environ: Mapping[str, str], spool: Path | None = None
) -> "S3Blobs":
    """The store at `s3://bucket/prefix`; touches no network, which `S3Blobs.open` does first. `CannotStart`.

    The driver finds credentials by itself (`AWS_*` variables, web identity, container, instance). Those of `environ`
    are also used for what the driver cannot do: links for downloads, and dropping what killed uploads left. `spool` is
    where uploads wait for their turn (default: the system's folder for temporary files).
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise CannotStart(f"{parts.scheme}://{parts.hostname or ''} is not a blob store: write s3://bucket/prefix")
    if endpoint is not None and urlsplit(endpoint).scheme not in {"http", "https"}:
        raise CannotStart("the endpoint of the object store must begin with http:// or https://")
    try:
        from filestead.blobs.s3 import S3Blobs  # noqa: PLC0415 - the embedded server does without the driver
    except ImportError:
        raise CannotStart("s3:// needs the driver of object stores: pip install 'filestead[s3]'") from None
    return S3Blobs(
        parts.netloc,
        parts.path.strip("/"),
        endpoint=endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL"),
        region=region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        credentials=_credentials(environ),
        spool=spool,
    )


def _credentials(environ: Mapping[str, str]) -> Credentials | None:
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    return Credentials(key, secret, environ.get("AWS_SESSION_TOKEN")) if key and secret else None
