"""Operations of the API and the routes that serve them.

Routing, required scopes and the OpenAPI document are all made from rows of `Operation`, so they cannot disagree.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar

from filestead.api.http.credentials import RequestAuthenticator
from filestead.api.http.messages import Request, Response
from filestead.api.http.requests import OPERATION, RequestObserver
from filestead.api.http.router import Endpoint, Route
from filestead.domain.access import Scope
from filestead.domain.errors import DomainError

JSON = "application/json"

Handlers = TypeVar("Handlers")
Handler = Callable[..., Awaitable[Response]]
"""Takes the request, and for operations that require a scope the principal."""


PUBLIC: Final = "public"


@dataclass(frozen=True, slots=True)
class Operation(Generic[Handlers]):
    """One method of one path; `handler` selects the function that serves it.

    `responses`, `parameters` and `request_body` are in the form of OpenAPI; `errors` are statuses of error responses
    beside those that every operation may send.
    """

    method: str
    path: str
    access: Scope | Literal["public"]
    handler: Callable[[Handlers], Handler]
    tag: str
    operation_id: str
    summary: str
    responses: Mapping[int, dict[str, Any]]
    errors: tuple[int, ...] = ()
    parameters: list[dict[str, Any]] = field(default_factory=list)
    request_body: dict[str, Any] | None = None
    aliases: tuple[str, ...] = ()
    """Paths that are served alike, but not documented."""
    transfer: Literal["upload", "download"] | None = None
    """Set if the content of a file is sent or received, for the metrics of transfers in progress."""


def build_routes(
    operations: Iterable[Operation[Handlers]],
    handlers: Handlers,
    authenticator: RequestAuthenticator,
    observer: RequestObserver,
) -> list[Route]:
    """Build one route for each path."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for operation in operations:
        endpoint = _build_endpoint(operation, operation.handler(handlers), authenticator, observer)
        for path in (operation.path, *operation.aliases):
            paths.setdefault(path, {})[operation.method] = endpoint
    return [Route(path, endpoints) for path, endpoints in paths.items()]


def _build_endpoint(
    operation: Operation[Handlers], handler: Handler, authenticator: RequestAuthenticator, observer: RequestObserver
) -> Endpoint:
    access, transfer = operation.access, operation.transfer

    async def endpoint(request: Request) -> Response:
        request.scope["state"][OPERATION] = operation
        if transfer is not None:
            observer.transfer_started(transfer)
        if access == PUBLIC:
            return await handler(request)
        principal = await authenticator.authenticate(request, access)
        try:
            return await handler(request, principal)
        except DomainError as error:
            authenticator.count_not_found(request, principal, error)
            raise

    return endpoint
