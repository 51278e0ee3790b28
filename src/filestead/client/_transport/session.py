# Generated from _transport/async_session.py by scripts/generate_sync_client.py: edit that file.
"""The synchronous session: sends a `Request` and returns the response, whatever its status.

It adds authentication headers, retries and follows redirects, as `exchange` decides.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filestead.client._transport.exchange import RequestHead, ResponseHead, Send, Wait, exchange
from filestead.client._transport.requests import Request
from filestead.client._transport.response_body import BodyBuffer, ContentDecoder
from filestead.client._upload.multipart import EncodedForm, UploadMeter
from filestead.client._upload.sources import Source
from filestead.client.config import Config
from filestead.client.errors import APIConnectionError

if TYPE_CHECKING:
    import httpx2

OnExchange = Callable[[RequestHead, ResponseHead | None], None]
"""Called after each attempt and each redirect; with None if no response was received."""


class Response:
    """A response whose body may not have been received yet. Close it, or read it to its end."""

    def __init__(self, response: "httpx2.Response", request: RequestHead, limit: int) -> None:
        self._response = response
        # A transport without connections may return complete responses, which httpx2 has already decoded.
        self._encoded = not response.is_stream_consumed
        self._limit = limit
        self._body: bytes | None = None
        self._request = request
        self.head = ResponseHead(response.status_code, response.reason_phrase, str(response.url), response.headers)

    def read(self) -> bytes:
        """Return the decoded body; of an error response, at most `ERROR_BYTES`. May be called more than once.

        Raises `APIConnectionError` for an incomplete body, `APIResponseValidationError` for one over the limit.
        """
        if self._body is None:
            body = BodyBuffer(self.head, self._limit, encoded=self._encoded)
            with closing(self._raw_chunks()) as chunks:
                for data in chunks:
                    if not body.feed(data):
                        self.close()
                        break
            self._body = body.finish()
        return self._body

    def iter_bytes(self) -> Iterator[bytes]:
        """The decoded body in chunks, as they are received. Raises `APIConnectionError` for an incomplete body."""
        decoder = ContentDecoder(self.head) if self._encoded else None
        for data in self._raw_chunks():
            yield from decoder.decode(data) if decoder else (data,)
        if decoder:
            decoder.finish()

    def _raw_chunks(self) -> Generator[bytes, None]:
        from filestead.client._transport import connections  # noqa: PLC0415  # see connections

        with connections.translate_network_errors(self._request):
            if not self._encoded:
                yield self._response.content
                return
            yield from self._response.iter_raw()

    def close(self) -> None:
        """Release the connection; it cannot be reused if the body was not read to its end."""
        self._response.close()


class ConnectionTrace:
    """Called by the transport with each of its events: records whether it opened a connection for the request."""

    def __init__(self) -> None:
        self.is_new = False

    def __call__(self, event: str, info: dict[str, Any]) -> None:
        self.is_new = self.is_new or event.startswith("connection.connect")


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

    def send(self, request: Request, *, stream: bool = False) -> Response:
        """Send a request and return the last response, whatever its status; with `stream`, before its body is read.

        Raises `APIConnectionError` if no response is received, `RedirectError`, and errors of reading an upload.
        """
        steps = exchange(request, self.config)
        response: Response | None = None
        outcome: ResponseHead | APIConnectionError | None = None
        try:
            while (step := steps.send(outcome)) is not None:
                if response is not None:
                    response.close()
                response = outcome = None
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                    continue
                try:
                    response = self._transmit(step)
                    if not stream:
                        response.read()
                    outcome = response.head
                except APIConnectionError as error:
                    outcome = error
        except BaseException:
            if response is not None:
                response.close()
            raise
        assert response is not None, "an exchange ends with a response or an exception"
        return response

    def _transmit(self, step: Send) -> Response:
        from filestead.client._transport import connections  # noqa: PLC0415

        body = stream_form(step.body) if isinstance(step.body, EncodedForm) else step.body
        response = None
        try:
            request = connections.build_request(step.head, body)
            client = self._client(urlsplit(step.head.url).scheme)
            request.extensions["timeout"] = client.timeout.as_dict()
            with connections.translate_network_errors(step.head):
                received = self._receive(client, request)
            response = Response(received, step.head, self.config.max_response_bytes)
            return response
        finally:
            if self._on_exchange is not None:
                self._on_exchange(step.head, response.head if response else None)

    def _receive(self, client: "httpx2.Client", request: "httpx2.Request") -> "httpx2.Response":
        """The head of the response.

        A GET is sent again if a connection breaks that was kept open: the server may have closed it meanwhile.
        """
        import httpx2  # noqa: PLC0415

        while True:
            connection = ConnectionTrace()
            if request.method == "GET" and self._transport is None:
                request.extensions["trace"] = connection
            try:
                return client.send(request, stream=True, auth=None, follow_redirects=False)
            except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                if connection.is_new or "trace" not in request.extensions:
                    raise

    def _client(self, scheme: str) -> "httpx2.Client":
        import httpx2  # noqa: PLC0415

        from filestead.client._transport import connections, network  # noqa: PLC0415

        if scheme not in self._clients:
            if self._transport is not None:
                client = httpx2.Client(transport=self._transport, timeout=connections.timeout(self.config))
            else:
                client = httpx2.Client(**connections.client_options(self.config, scheme, self._proxy))
                connections.install_network_backend(client, network.EarlyResponseBackend())
            # Another call may have added one meanwhile: the first is kept.
            self._clients.setdefault(scheme, client)
        return self._clients[scheme]

    def close(self) -> None:
        """Close the connections and the given transport."""
        for client in self._clients.values():
            client.close()


def stream_form(form: EncodedForm) -> Iterator[bytes | memoryview]:
    """The body for a form. Raises `SourceChanged` if a file no longer has the size that was announced."""
    for piece in form.pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        assert isinstance(piece.source, Source), "a client opens the sources that it sends"
        meter = UploadMeter(piece)
        for block in piece.source.blocks(0):
            meter.record_read(block)
            yield block
            meter.record_sent()
        meter.finish()
