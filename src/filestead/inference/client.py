"""An HTTP/1.1 client for one endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from filestead.egress import Egress

MIB = 1024 * 1024
MAX_RESPONSE_BYTES = 64 * MIB
CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Sends requests to the origin of one URL, over kept connections."""

    def __init__(
        self,
        url: str,
        key: str | None,
        egress: Egress,
        *,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        raise NotImplementedError

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        seconds: float,
    ) -> Response:
        """Send a request to a path below the URL; raises `EndpointFailure`."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the idle connections."""
        raise NotImplementedError
