"""Runs one asynchronous download: sends its requests, and writes the received chunks to a destination."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from filestead.client._download.destinations import Destination, OpenDestination, Saved
from filestead.client._download.download import Chunk, Download, ResponseAction
from filestead.client._threads import in_thread
from filestead.client._transport import responses
from filestead.client._transport.async_session import AsyncSession
from filestead.client._transport.exchange import ResponseHead
from filestead.client.errors import APIConnectionError

ErrorFactory = Callable[[ResponseHead, bytes], Exception]


async def receive(
    session: AsyncSession, download: Download, *, make_error: ErrorFactory = responses.content_error
) -> AsyncGenerator[Chunk, None]:
    """The chunks of a download, over as many requests as it needs.

    Raises what `make_error` returns for a response without content, `APIConnectionError` and `IntegrityError`.
    """
    while True:
        async with aclosing(await session.send(download.request(), stream=True)) as response:
            if not download.accepts(response.head.status):
                raise make_error(response.head, await response.read())
            action = download.begin_response(response.head)
            if action is ResponseAction.RETRY:
                continue
            if action is ResponseAction.RESTART:
                yield ResponseAction.RESTART
            failure: APIConnectionError | None = None
            try:
                async for chunk in response.iter_bytes():
                    yield download.feed(chunk)
            except APIConnectionError as error:
                failure = error
            if failure is None and download.end_response():
                return
        await asyncio.sleep(download.retry_delay(failure))


async def save(
    chunks: AsyncGenerator[Chunk, None], download: Download, to: Destination, *, filename: str = ""
) -> Saved:
    """Write the chunks of `download` to `to`, which is opened before the first request is sent."""
    destination = await in_thread(OpenDestination, download, to, filename)
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                if destination.add(chunk):
                    await in_thread(destination.flush)
                download.report_progress()
        return await in_thread(destination.commit)
    finally:
        await in_thread(destination.close)
