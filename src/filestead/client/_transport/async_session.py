"""The lower layer for asyncio: as `session`, driven by the same decisions."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, TypeVarTuple
from urllib.parse import urlsplit

from filestead.client._download.downloads import Transfer, Verdict
from filestead.client._transport import responses
from filestead.client._transport.exchange import AnswerHead, RequestHead, Send, Wait, exchange
from filestead.client._transport.requests import Request
from filestead.client._upload import multipart
from filestead.client._upload.bodies import Body, Decoder
from filestead.client._upload.sources import Source
from filestead.client.config import Config
from filestead.client.errors import APIConnectionError

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def in_thread(work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Do blocking work on a thread. A cancelled caller waits for it: nobody may close a file that is being written."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _blocks_on_thread(source: Source) -> AsyncIterator[bytes | memoryview]:
    blocks = source.blocks()
    while (block := await in_thread(next, blocks, None)) is not None:
        yield block


class AsyncAnswer:
    """An answer whose body may still be on its way. Close it, or read it to its end."""

    def __init__(self, response: "httpx2.Response", sent: RequestHead, limit: int) -> None:
        self._response = response
        self._packed = not response.is_stream_consumed  # As `session.Answer`.
        self._limit = limit
        self._body: bytes | None = None
        self.request = sent
        self.status = response.status_code
        self.head = AnswerHead(response.status_code, response.reason_phrase, str(response.url), response.headers)

    async def read(self) -> bytes:
        """As `session.Answer.read`."""
        if self._body is None:
            body = Body(self.head, self._limit, packed=self._packed)
            async with aclosing(self._wire()) as wire:
                async for data in wire:
                    if not body.take(data):
                        await self.close()
                        break
            self._body = body.whole()
        return self._body

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """The body as it comes, unpacked if the server packed it. Raises `APIConnectionError` when it breaks off."""
        decoder = Decoder(self.head) if self._packed else None
        async for data in self._wire():
            for piece in decoder.pieces(data) if decoder else (data,):
                yield piece
        if decoder:
            decoder.finish()

    async def _wire(self) -> AsyncGenerator[bytes, None]:
        from filestead.client._transport import connections  # noqa: PLC0415  # see connections

        with connections.translate_network_errors(self.request):
            if not self._packed:
                yield self._response.content
                return
            async for data in self._response.aiter_raw():
                yield data

    async def close(self) -> None:
        """Done with it; a body that was not read to its end costs the connection."""
        await self._response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class AsyncSession:
    """Connections to one server, within one event loop."""

    def __init__(
        self,
        config: Config,
        *,
        transport: "httpx2.AsyncBaseTransport | None" = None,
        proxy: "str | httpx2.Proxy | None" = None,
    ) -> None:
        self.config = config
        self._transport = transport
        self._proxy = proxy
        self._clients: dict[str, httpx2.AsyncClient] = {}

    async def send(self, request: Request, *, stream: bool = False) -> AsyncAnswer:
        """As `Session.send`."""
        flow = exchange(request, self.config)
        answer: AsyncAnswer | None = None
        outcome: AnswerHead | APIConnectionError | None = None
        try:
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration:
                    break
                if answer is not None:
                    await answer.close()
                    answer = None
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                    outcome = None
                    continue
                try:
                    answer = await self._transmit(step, stream=stream)
                    outcome = answer.head
                except APIConnectionError as error:
                    outcome = error
        except BaseException:
            if answer is not None:
                await answer.close()
            raise
        assert answer is not None, "an exchange ends with an answer or an exception"
        return answer

    async def chunks(self, transfer: Transfer) -> AsyncGenerator[bytes | None, None]:
        """As `Session.chunks`."""
        while True:
            async with await self.send(transfer.request(), stream=True) as answer:
                if not transfer.accepts(answer.status):
                    raise responses.refusal(answer.head, await answer.read())
                verdict = transfer.begin(answer.head)
                if verdict is Verdict.AGAIN:
                    continue
                if verdict is Verdict.RESTART:
                    yield None
                broken: APIConnectionError | None = None
                try:
                    async for chunk in answer.iter_bytes():
                        yield transfer.feed(chunk)
                except APIConnectionError as error:
                    broken = error
                if broken is None and transfer.ended():
                    return
            await asyncio.sleep(transfer.interrupted(broken))

    async def _transmit(self, step: Send, *, stream: bool) -> AsyncAnswer:
        from filestead.client._transport import connections  # noqa: PLC0415

        body = step.body
        content = multipart.astream(body, _blocks_on_thread) if isinstance(body, multipart.Encoded) else body
        request = connections.request(step.head, content)
        client = self._client(urlsplit(step.head.url).scheme)
        request.extensions["timeout"] = client.timeout.as_dict()
        answer = None
        try:
            with connections.translate_network_errors(step.head):
                response = await client.send(request, stream=True, auth=None, follow_redirects=False)
                answer = AsyncAnswer(response, step.head, self.config.max_response_bytes)
                if not stream:
                    await answer.read()
            return answer
        except BaseException:
            if answer is not None:
                await answer.close()
            raise

    def _client(self, scheme: str) -> "httpx2.AsyncClient":
        import httpx2  # noqa: PLC0415

        from filestead.client._transport import async_network, connections, network  # noqa: PLC0415

        if scheme not in self._clients:
            if self._transport is not None:
                client = httpx2.AsyncClient(transport=self._transport, timeout=connections.timeout(self.config))
            else:
                client = httpx2.AsyncClient(**connections.options(self.config, scheme, self._proxy))
                network.watch(client, async_network.AsyncBackend())
            self._clients[scheme] = client
        return self._clients[scheme]

    async def close(self) -> None:
        """Close the connections; a given transport is closed too."""
        for client in self._clients.values():
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
