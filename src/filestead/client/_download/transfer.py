# Generated from _download/async_transfer.py by scripts/generate_sync_client.py: edit that file.
"""Runs one synchronous download: sends its requests, and writes the received chunks to a destination."""

import time
from collections.abc import Callable, Generator
from contextlib import closing

from filestead.client._download.destinations import Destination, OpenDestination, Saved
from filestead.client._download.download import Chunk, Download, ResponseAction
from filestead.client._transport import responses
from filestead.client._transport.exchange import ResponseHead
from filestead.client._transport.session import Session
from filestead.client.errors import APIConnectionError

ErrorFactory = Callable[[ResponseHead, bytes], Exception]


def receive(
    session: Session, download: Download, *, make_error: ErrorFactory = responses.content_error
) -> Generator[Chunk, None]:
    """The chunks of a download, over as many requests as it needs.

    Raises what `make_error` returns for a response without content, `APIConnectionError` and `IntegrityError`.
    """
    while True:
        with closing(session.send(download.request(), stream=True)) as response:
            if not download.accepts(response.head.status):
                raise make_error(response.head, response.read())
            action = download.begin_response(response.head)
            if action is ResponseAction.RETRY:
                continue
            if action is ResponseAction.RESTART:
                yield ResponseAction.RESTART
            failure: APIConnectionError | None = None
            try:
                for chunk in response.iter_bytes():
                    yield download.feed(chunk)
            except APIConnectionError as error:
                failure = error
            if failure is None and download.end_response():
                return
        time.sleep(download.retry_delay(failure))


def save(chunks: Generator[Chunk, None], download: Download, to: Destination, *, filename: str = "") -> Saved:
    """Write the chunks of `download` to `to`, which is opened before the first request is sent."""
    destination = OpenDestination(download, to, filename)
    try:
        with closing(chunks):
            for chunk in chunks:
                if destination.add(chunk):
                    destination.flush()
                download.report_progress()
        return destination.commit()
    finally:
        destination.close()
