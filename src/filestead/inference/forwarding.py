"""Passes requests of clients on: chooses an endpoint, counts its traffic, and translates failures."""

import functools
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from filestead.domain.errors import EndpointUnavailable, ModelNotServed, ResponseNotFound
from filestead.domain.forwarding.interfaces import FileMode, ForwardedRequest, Target
from filestead.domain.forwarding.observation import UNOBSERVED_FORWARDING, ForwardingObserver
from filestead.http_client.errors import EndpointFailure, EndpointTimeout, EndpointUnreachable
from filestead.http_client.streams import StreamedResponse
from filestead.inference.chat_target import ChatTarget
from filestead.inference.endpoint import Endpoint
from filestead.inference.endpoints import LOAD_BOUND, Endpoints

REMEMBERED_RESPONSES = 10_000
MIN_RETRY_SECONDS = 1
MAX_RETRY_SECONDS = 60


class CountedResponse:
    """A response that counts as traffic until it is closed."""

    def __init__(
        self,
        response: StreamedResponse,
        name: str,
        note_end: Callable[[], None],
        note_first: Callable[[], None] | None = None,
    ) -> None:
        """`note_end` is called once, when it is closed; `note_first` when the first of the body has come."""
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._name = name
        self._note_end = note_end
        self._note_first = note_first
        self._is_open = True

    async def read(self) -> bytes:
        """As in `ForwardedResponse`."""
        try:
            data = await self._response.read()
        except EndpointFailure as failure:
            raise _unavailable(self._name, failure) from None
        if self._note_first is not None:
            if data:
                self._note_first()
            self._note_first = None
        return data

    def close(self) -> None:
        """As in `ForwardedResponse`."""
        if self._is_open:
            self._is_open = False
            self._note_end()
            self._response.close()


class EndpointTarget:
    """An endpoint, as a target of requests."""

    def __init__(
        self, endpoint: Endpoint, endpoints: Endpoints, observer: ForwardingObserver, clock: Callable[[], float]
    ) -> None:
        """`clock` is monotonic."""
        self.endpoint = endpoint
        self._observer = observer
        self._clock = clock
        self.name = endpoint.name
        self.files: FileMode = endpoint.files
        self._endpoints = endpoints

    async def send(self, request: ForwardedRequest) -> CountedResponse:
        """As in `Target`."""
        began = self._clock()
        self._count(1)
        try:
            response = await self.endpoint.open(
                request.method, request.path, request.content, headers=request.headers, length=request.length
            )
        except EndpointFailure as failure:
            self._count(-1)
            outcome = "timeout" if isinstance(failure, EndpointTimeout) else "unreachable"
            self._observer.responded(self.name, outcome, self._clock() - began)
            raise _unavailable(self.name, failure) from None
        except BaseException:
            self._count(-1)
            raise
        self._observer.responded(self.name, f"{response.status // 100}xx", self._clock() - began)
        note_first = None
        target = self.endpoint.chat_target
        if target is not None and _is_stream_of_tokens(request, response):
            note_first = functools.partial(self._note_first, target, began)
        counted = CountedResponse(response, self.name, self._note_end, note_first)
        if hint := _fault_of_configuration(response.status):
            counted.close()
            raise EndpointUnavailable(self.name, f"it responded with {response.status}: {hint}", hint=hint)
        return counted

    def _count(self, change: int) -> None:
        traffic = self.endpoint.traffic
        traffic.interactive += change
        self._observer.in_flight(self.name, traffic.interactive)

    def _note_end(self) -> None:
        self._count(-1)

    def _note_first(self, target: ChatTarget, began: float) -> None:
        target.note_first_token(self._clock() - began)

    def serves(self, model: str) -> bool:
        """As in `Target`."""
        return self.endpoint in self._endpoints.for_model(model)


class EndpointForwarder:
    """A `Forwarder` on the configured endpoints."""

    def __init__(
        self,
        endpoints: Endpoints,
        observer: ForwardingObserver = UNOBSERVED_FORWARDING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is monotonic."""
        self._endpoints = endpoints
        self._targets = {endpoint: EndpointTarget(endpoint, endpoints, observer, clock) for endpoint in endpoints.all}
        self._responses: OrderedDict[str, tuple[str, Target]] = OrderedDict()

    def targets_for(self, model: str | None, group: bytes) -> Sequence[EndpointTarget]:
        """As in `Forwarder`. Without a model, endpoints that take any are meant."""
        matching = self._endpoints.for_model(model or "") or (self._endpoints.all if model is None else ())
        if not matching:
            raise ModelNotServed(model or "")
        usable = [endpoint for endpoint in matching if endpoint.unreachable_reason() is None]
        if not usable:
            first = min(matching, key=Endpoint.seconds_to_probe)
            seconds = first.seconds_to_probe()
            raise EndpointUnavailable(first.name, str(first.unreachable_reason()), retry_after=_bounded(seconds))
        return [self._targets[endpoint] for endpoint in _in_order(usable, group)]

    def all_targets(self) -> Sequence[EndpointTarget]:
        """As in `Forwarder`."""
        return list(self._targets.values())

    def remember(self, project_id: str, response_id: str, target: Target) -> None:
        """As in `Forwarder`."""
        self._responses[response_id] = (project_id, target)
        self._responses.move_to_end(response_id)
        while len(self._responses) > REMEMBERED_RESPONSES:
            self._responses.popitem(last=False)

    def recall(self, project_id: str, response_id: str) -> Target | None:
        """As in `Forwarder`."""
        found = self._responses.get(response_id)
        if found is None:
            return None
        if found[0] != project_id:
            raise ResponseNotFound(response_id)
        return found[1]


def _in_order(endpoints: list[Endpoint], group: bytes) -> list[Endpoint]:
    """By rendezvous hashing with bounded loads, as batches choose; see `endpoints.choose`."""
    if len(endpoints) < 2:
        return endpoints
    bound = math.ceil(LOAD_BOUND * (sum(endpoint.in_flight for endpoint in endpoints) + 1) / len(endpoints))
    ordered = sorted(endpoints, key=lambda endpoint: _weight(group, endpoint.url), reverse=True)
    return sorted(ordered, key=lambda endpoint: endpoint.in_flight + 1 > bound)


def _weight(group: bytes, url: str) -> bytes:
    return hashlib.blake2b(group, key=hashlib.blake2b(url.encode(), digest_size=32).digest(), digest_size=8).digest()


def _is_stream_of_tokens(request: ForwardedRequest, response: StreamedResponse) -> bool:
    """Whether the first part of the body is the first token. A body in parts is sent as fast as its client sends it."""
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    return is_stream and response.status == 200 and isinstance(request.content, bytes)


def _fault_of_configuration(status: int) -> str:
    """What the operator must do about a response that is no concern of the client; empty if it is one.

    A refused key is ours, and parts of it may be in the text of the response. A redirect would lead the client with
    its key to another server.
    """
    if status == 401:
        return "It refuses the key: the operator must check FILESTEAD_UPSTREAM_API_KEY."
    if 300 <= status < 400:
        return "It redirects: the operator must set FILESTEAD_UPSTREAM_URL to the final address."
    return ""


def _unavailable(name: str, failure: EndpointFailure) -> EndpointUnavailable:
    is_timeout = isinstance(failure, EndpointTimeout)
    return EndpointUnavailable(
        name,
        str(failure),
        timed_out=is_timeout,
        unsent=isinstance(failure, EndpointUnreachable),
        retry_after=MIN_RETRY_SECONDS,
    )


def _bounded(seconds: float) -> int:
    return math.ceil(min(max(seconds, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS))
