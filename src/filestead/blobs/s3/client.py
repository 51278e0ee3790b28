"""The driver's client of a bucket: credentials, timeouts and retries."""

from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.store import S3Store

from filestead.blobs.s3.signing import Credentials

if TYPE_CHECKING:
    from obstore.store import BackoffConfig, S3Config

CONNECT_SECONDS = 2.0

RESPONSE_SECONDS = 5.0
"""Until the first byte of a response, all attempts included."""

MAX_ATTEMPTS = 5


def make_client(
    bucket: str,
    prefix: str,
    endpoint: str | None,
    region: str,
    credentials: Credentials | None,
    *,
    proxy_url: str,
    seconds: float,
) -> S3Store:
    """A client whose single requests take at most `seconds`, including the body of the response.

    All its requests go through the proxy, which refuses redirects (see `proxy.py`).
    """
    config: S3Config = {"region": region, "virtual_hosted_style_request": False}
    if endpoint is not None:
        config["endpoint"] = endpoint
    if credentials is not None:
        config["access_key_id"] = credentials.access_key_id
        config["secret_access_key"] = credentials.secret_access_key
        if credentials.session_token is not None:
            config["session_token"] = credentials.session_token
    backoff: BackoffConfig = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2}
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,
        client_options={
            "allow_http": endpoint is not None and endpoint.startswith("http://"),
            "proxy_url": proxy_url,
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=seconds),
        },
        retry_config={
            "max_retries": MAX_ATTEMPTS - 1,
            # No attempt starts later than this, so that the last one can still be answered in time.
            "retry_timeout": timedelta(seconds=RESPONSE_SECONDS - CONNECT_SECONDS),
            "backoff": backoff,
        },
    )
