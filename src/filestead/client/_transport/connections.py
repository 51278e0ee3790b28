"""The boundary to httpx2: creates its clients and requests, and translates its errors.

The sessions import this module only to send a request, since importing httpx2 is slow.
"""

import ssl
from collections.abc import AsyncIterable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2

from filestead.client._transport.exchange import RequestHead
from filestead.client.config import CONNECT_TIMEOUT_SECONDS, DEFAULT_TIMEOUT_SECONDS, Config
from filestead.client.errors import APIConnectionError, APITimeoutError, ConfigurationError

BodyStream = bytes | Iterable[bytes | memoryview] | AsyncIterable[bytes | memoryview] | None


def client_options(config: Config, scheme: str, proxy: "str | httpx2.Proxy | None") -> dict[str, Any]:
    """The arguments of an httpx2 client for URLs of one scheme.

    Loading the system's certificates takes longer than a request, so http gets a context without any.
    """
    verify: ssl.SSLContext | bool = True if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return {"timeout": timeout(config), "verify": verify, "proxy": proxy}


def timeout(config: Config) -> httpx2.Timeout:
    """The configured timeout; the default is the official SDK's."""
    if config.timeout == DEFAULT_TIMEOUT_SECONDS:
        return httpx2.Timeout(DEFAULT_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    return httpx2.Timeout(config.timeout)


def build_request(head: RequestHead, body: BodyStream) -> httpx2.Request:
    """The request exactly as given; the headers of an httpx2 client are not merged into it."""
    with translate_network_errors(head):
        return httpx2.Request(head.method, head.url, headers=list(head.headers), content=body)  # type: ignore[arg-type]  # views are sent as bytes are


def install_network_backend(client: Any, backend: httpcore2.NetworkBackend | httpcore2.AsyncNetworkBackend) -> None:
    """Make an httpx2 client connect through `backend`, for which httpx2 has no argument."""
    for transport in (client._transport, *client._mounts.values()):
        if hasattr(getattr(transport, "_pool", None), "_network_backend"):
            transport._pool._network_backend = backend


@contextmanager
def translate_network_errors(head: RequestHead) -> Iterator[None]:
    """Raise the client's errors for those of httpx2, which are kept as the cause."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise APITimeoutError(_error_message(head, error)) from error
    except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise ConfigurationError(f"this request cannot be sent: {_error_message(head, error)}") from error
    except httpx2.RequestError as error:
        raise APIConnectionError(_error_message(head, error)) from error


def _error_message(head: RequestHead, error: Exception) -> str:
    return f"{head.method} {head.url}: {str(error) or type(error).__name__}"
