"""Where the client meets httpx2: how its clients and requests are made, and which of our errors its errors become.

The only module of the package that imports httpx2 when loaded; the sessions load it when they are made, not before.
"""

import ssl
from collections.abc import AsyncIterable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from filestead.client._transport.exchange import RequestHead
from filestead.client.config import CONNECT_SECONDS, DEFAULT_TIMEOUT_SECONDS, Config
from filestead.client.errors import APIConnectionError, APITimeoutError, ConfigurationError

BodyStream = bytes | Iterable[bytes | memoryview] | AsyncIterable[bytes | memoryview] | None


def options(config: Config, scheme: str, proxy: "str | httpx2.Proxy | None") -> dict[str, Any]:
    """The arguments of an httpx2 client for URLs of one scheme.

    Loading the system's certificates takes longer than a whole request, so http gets a context that trusts nobody.
    """
    verify: ssl.SSLContext | bool = True if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return {"timeout": timeout(config), "verify": verify, "proxy": proxy}


def timeout(config: Config) -> httpx2.Timeout:
    """The configured timeout; the default is the official SDK's."""
    if config.timeout == DEFAULT_TIMEOUT_SECONDS:
        return httpx2.Timeout(DEFAULT_TIMEOUT_SECONDS, connect=CONNECT_SECONDS)
    return httpx2.Timeout(config.timeout)


def request(head: RequestHead, body: BodyStream) -> httpx2.Request:
    """The request exactly as given; the headers of an httpx2 client are not merged into it."""
    with translate_network_errors(head):
        return httpx2.Request(head.method, head.url, headers=list(head.headers), content=body)  # type: ignore[arg-type]  # views are sent as bytes are


@contextmanager
def translate_network_errors(head: RequestHead) -> Iterator[None]:
    """Turn what httpx2 raises into ours, with the cause kept."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise APITimeoutError(_text(head, error)) from error
    except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise ConfigurationError(f"this request cannot be sent: {_text(head, error)}") from error
    except httpx2.RequestError as error:
        raise APIConnectionError(_text(head, error)) from error


def _text(head: RequestHead, error: Exception) -> str:
    return f"{head.method} {head.url}: {str(error) or type(error).__name__}"
