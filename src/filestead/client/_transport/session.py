"""The lower layer: sends a `Request`, keeps the server's bytes, and leaves it to the caller what a status means.

Authentication headers, retries and redirects are done here; the decisions are those of `exchange`.
"""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from filestead.client._download.downloads import Transfer, Verdict
from filestead.client._transport import responses
from filestead.client._transport.exchange import AnswerHead, RequestHead, Send, Wait, exchange
from filestead.client._transport.requests import Request
from filestead.client._upload import multipart
from filestead.client._upload.bodies import Body, Decoder
from filestead.client.config import Config
from filestead.client.errors import APIConnectionError

if TYPE_CHECKING:
    import httpx2

OnExchange = Callable[[RequestHead, AnswerHead | None], None]
"""Called after each try and each redirect; None if no answer came."""
Refusal = Callable[[AnswerHead, bytes], Exception]


class Answer:
    """An answer whose body may still be on its way. Close it, or read it to its end."""

    def __init__(self, response: "httpx2.Response", sent: RequestHead, limit: int) -> None:
        self._response = response
        # A transport that is no connection may give whole answers; httpx2 has unpacked them.
        self._packed = not response.is_stream_consumed
        self._limit = limit
        self._body: bytes | None = None
        self.request = sent
        self.status = response.status_code
        self.reason = response.reason_phrase
        self.headers = response.headers
        self.url = str(response.url)

    @property
    def head(self) -> AnswerHead:
        """All but the body, as a value."""
        return AnswerHead(self.status, self.reason, self.url, self.headers)

    @property
    def request_id(self) -> str | None:
        """The header `x-request-id`."""
        return self.headers.get("x-request-id")

    def read(self) -> bytes:
        """The whole body, unpacked; of an answer that is no success, its first `ERROR_BYTES`. May be called again.

        Raises `APIConnectionError` when it breaks off and `APIResponseValidationError` when it is over the limit.
        """
        if self._body is None:
            body = Body(self.head, self._limit, packed=self._packed)
            for data in self._wire():
                if not body.take(data):
                    self.close()
                    break
            self._body = body.whole()
        return self._body

    def iter_bytes(self) -> Iterator[bytes]:
        """The body as it comes, unpacked if the server packed it. Raises `APIConnectionError` when it breaks off."""
        decoder = Decoder(self.head) if self._packed else None
        for data in self._wire():
            yield from decoder.pieces(data) if decoder else (data,)
        if decoder:
            decoder.finish()

    def _wire(self) -> Iterator[bytes]:
        from filestead.client._transport import connections  # noqa: PLC0415  # see connections

        with connections.translate_network_errors(self.request):
            yield from self._response.iter_raw() if self._packed else (self._response.content,)

    def close(self) -> None:
        """Done with it; a body that was not read to its end costs the connection."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Session:
    """Connections to one server. Threads may share it."""

    def __init__(
        self,
        config: Config,
        *,
        transport: "httpx2.BaseTransport | None" = None,
        proxy: "str | httpx2.Proxy | None" = None,
        on_exchange: OnExchange | None = None,
    ) -> None:
        self.config = config
        self._transport = transport
        self._proxy = proxy
        self._on_exchange = on_exchange
        self._clients: dict[str, httpx2.Client] = {}

    def send(self, request: Request, *, stream: bool = False) -> Answer:
        """Send a request and return the last answer, whatever its status; with `stream`, its body is still unread.

        Raises `APIConnectionError` when no answer came, `RedirectError`, and what reading an uploaded file raises.
        """
        flow = exchange(request, self.config)
        answer: Answer | None = None
        outcome: AnswerHead | APIConnectionError | None = None
        try:
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration:
                    break
                if answer is not None:
                    answer.close()
                    answer = None
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                    outcome = None
                    continue
                try:
                    answer = self._transmit(step, stream=stream)
                    outcome = answer.head
                except APIConnectionError as error:
                    outcome = error
        except BaseException:
            if answer is not None:
                answer.close()
            raise
        assert answer is not None, "an exchange ends with an answer or an exception"
        return answer

    def chunks(self, transfer: Transfer, *, refusal: Refusal = responses.refusal) -> Iterator[bytes | None]:
        """The new bytes of a download, over as many requests as it takes; None where all before it is void.

        Raises what `refusal` makes of an answer that is no content, `APIConnectionError` and `IntegrityError`.
        """
        while True:
            with self.send(transfer.request(), stream=True) as answer:
                if not transfer.accepts(answer.status):
                    raise refusal(answer.head, answer.read())
                verdict = transfer.begin(answer.head)
                if verdict is Verdict.AGAIN:
                    continue
                if verdict is Verdict.RESTART:
                    yield None
                broken: APIConnectionError | None = None
                try:
                    for chunk in answer.iter_bytes():
                        yield transfer.feed(chunk)
                except APIConnectionError as error:
                    broken = error
                if broken is None and transfer.ended():
                    return
            time.sleep(transfer.interrupted(broken))

    def _transmit(self, step: Send, *, stream: bool) -> Answer:
        from filestead.client._transport import connections  # noqa: PLC0415

        body = multipart.stream(step.body) if isinstance(step.body, multipart.Encoded) else step.body
        answer = None
        try:
            request = connections.request(step.head, body)
            client = self._client(urlsplit(step.head.url).scheme)
            request.extensions["timeout"] = client.timeout.as_dict()
            with connections.translate_network_errors(step.head):
                response = client.send(request, stream=True, auth=None, follow_redirects=False)
                answer = Answer(response, step.head, self.config.max_response_bytes)
                if not stream:
                    answer.read()
            return answer
        except BaseException:
            if answer is not None:
                answer.close()
            raise
        finally:
            if self._on_exchange is not None:
                self._on_exchange(step.head, answer.head if answer else None)

    def _client(self, scheme: str) -> "httpx2.Client":
        import httpx2  # noqa: PLC0415

        from filestead.client._transport import connections, network  # noqa: PLC0415

        if scheme not in self._clients:
            if self._transport is not None:
                client = httpx2.Client(transport=self._transport, timeout=connections.timeout(self.config))
            else:
                client = httpx2.Client(**connections.options(self.config, scheme, self._proxy))
                network.watch(client, network.WatchfulBackend())
            # Two threads may get here at once: the first one's client is kept.
            self._clients.setdefault(scheme, client)
        return self._clients[scheme]

    def close(self) -> None:
        """Close the connections; a given transport is closed too."""
        for client in self._clients.values():
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
