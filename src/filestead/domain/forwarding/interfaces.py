"""Interfaces of what passes a request on: the choice of a model server, the exchange with it, and files in requests."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FileMode = Literal["text", "data", "off"]
"""How documents that a request names by their ids are sent: as text, as data, or not at all."""


@dataclass(frozen=True, slots=True)
class ForwardedRequest:
    """A request for a model server."""

    method: str
    path: str
    """Below the base URL, with the query, in visible ASCII characters."""
    headers: Mapping[str, str]
    content: bytes | AsyncIterator[bytes] | None = None
    length: int | None = None
    """Of content in parts, if it is known."""


class ForwardedResponse(Protocol):
    """A response whose head has come. It must be closed."""

    status: int
    headers: Mapping[str, str]
    """Names are in lower case."""

    async def read(self) -> bytes:
        """More of the body as it arrives; empty at its end. Raises `EndpointUnavailable`."""

    def close(self) -> None:
        """End the exchange; before the end of the body the model server is made to stop."""


class Target(Protocol):
    """A model server that a request may be sent to."""

    name: str
    files: FileMode

    async def send(self, request: ForwardedRequest) -> ForwardedResponse:
        """Send a request. Raises `EndpointUnavailable`, and whatever the content raises."""

    def serves(self, model: str) -> bool:
        """Whether requests for this model are sent there."""


class FileResolver(Protocol):
    """Puts the content of files into requests that name them by their ids."""

    def concerns(self, body: bytes, mode: FileMode) -> bool:
        """Whether the body may name files that are to be resolved."""

    async def resolve(self, project_id: str, body: bytes, mode: FileMode) -> bytes:
        """The body with content instead of ids of files of the project; the rest is as it was.

        Raises `FileReferenceRejected`, which names the member.
        """


class Forwarder(Protocol):
    """Chooses model servers as batches do."""

    def targets_for(self, model: str | None, group: bytes) -> Sequence[Target]:
        """The model servers to try, best first. A group of requests with the same beginning stays on one of them.

        Raises `ModelNotServed` if no server has this model, and `EndpointUnavailable` if none can be reached.
        """

    def all_targets(self) -> Sequence[Target]:
        """Every model server, in the order of the configuration."""

    def remember(self, project_id: str, response_id: str, target: Target) -> None:
        """Note which model server has a stored response, and whose it is."""

    def recall(self, project_id: str, response_id: str) -> Target | None:
        """The model server that has it; None if that is unknown. Raises `ResponseNotFound` for that of others."""
