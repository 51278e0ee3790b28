"""The models of all model servers in one list."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from filestead.domain.errors import DomainError, EndpointUnavailable, ModelNotServed
from filestead.domain.forwarding.interfaces import ForwardedRequest, Forwarder, Target

MAX_LIST_BYTES = 8 * 1024 * 1024
LIST_SECONDS = 10.0
KEPT_SECONDS = 5.0
"""How long a list is used again: clients ask for it often, and model servers may take their time."""


class _Model(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[msgspec.Raw]


_decode_model = msgspec.json.Decoder(_Model).decode
_decode_list = msgspec.json.Decoder(_List).decode


class ModelList:
    """Asks every model server; the first one that names a model and serves it describes it."""

    def __init__(self, forwarder: Forwarder, monotonic: Callable[[], float]) -> None:
        self._forwarder = forwarder
        self._monotonic = monotonic
        self._models: dict[str, bytes] = {}
        self._until = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, model: str) -> bytes:
        """The description of one model, as JSON. Raises `ModelNotServed` and `EndpointUnavailable`."""
        found = (await self._get()).get(model)
        if found is None:
            raise ModelNotServed(model)
        return found

    async def encode(self) -> bytes:
        """The list as JSON. Raises `EndpointUnavailable` if no model server responds."""
        return b'{"object":"list","data":[%b]}' % b",".join((await self._get()).values())

    async def _get(self) -> dict[str, bytes]:
        async with self._lock:
            if self._monotonic() >= self._until:
                self._models = await self._ask_all()
                self._until = self._monotonic() + KEPT_SECONDS
            return self._models

    async def _ask_all(self) -> dict[str, bytes]:
        targets = self._forwarder.all_targets()
        results = await asyncio.gather(*(_ask(target) for target in targets), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, DomainError):
                raise failure
        if len(failures) == len(targets) and failures:
            raise failures[0]
        found: dict[str, bytes] = {}
        for target, result in zip(targets, results, strict=True):
            if not isinstance(result, BaseException):
                for name, description in result:
                    if target.serves(name):
                        found.setdefault(name, description)
        return found


async def _ask(target: Target) -> Sequence[tuple[str, bytes]]:
    try:
        async with asyncio.timeout(LIST_SECONDS):
            body = await _read(target)
    except TimeoutError:
        raise EndpointUnavailable(target.name, "it did not list its models in time", timed_out=True) from None
    try:
        return [(_decode_model(item).id, bytes(item)) for item in _decode_list(body).data]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []  # some servers have no list


async def _read(target: Target) -> bytes:
    response = await target.send(ForwardedRequest("GET", "/models", {"accept": "application/json"}))
    try:
        body = b""
        while part := await response.read():
            body += part
            if len(body) > MAX_LIST_BYTES:
                raise EndpointUnavailable(target.name, f"its list of models is larger than {MAX_LIST_BYTES} bytes")
        return body if response.status == 200 else b"{}"
    finally:
        response.close()
