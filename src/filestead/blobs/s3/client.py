"""The driver's client of a bucket: who it is, how long it waits, and how often it tries."""

from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.store import S3Store

from filestead.blobs.s3.signing import Credentials

if TYPE_CHECKING:
    from obstore.store import BackoffConfig, S3Config

CONNECT_SECONDS = 2.0

ANSWER_SECONDS = 5.0
"""Until the first byte of an answer, all tries included."""

TRIES = 5


def client(
    bucket: str,
    prefix: str,
    endpoint: str | None,
    region: str,
    credentials: Credentials | None,
    *,
    proxy_url: str,
    seconds: float,
) -> S3Store:
    """A client whose single requests take at most `seconds`, answers read to their end included.

    All that it sends goes by the proxy, which holds it back from redirects (see `s3_proxy`).
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
            "max_retries": TRIES - 1,
            # No try begins later than this, so that the last one may still be answered in time.
            "retry_timeout": timedelta(seconds=ANSWER_SECONDS - CONNECT_SECONDS),
            "backoff": backoff,
        },
    )
