"""`AsyncFilesClient`: as `FilesClient`, for asyncio. Disk work is done on threads."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

from filestead import wire
from filestead.client._download.downloads import FileContent, Progress, Transfer
from filestead.client._download.sinks import BinaryWritable, Delivery, Saved, Target, is_folder
from filestead.client._transport import requests, responses
from filestead.client._transport.async_session import AsyncSession, in_thread
from filestead.client._transport.requests import Request
from filestead.client._transport.responses import Pages, Shape
from filestead.client._upload.sources import AsyncFileInput, open_async_source
from filestead.client.config import DEFAULT_TIMEOUT_SECONDS, MAX_RESPONSE_BYTES, MAX_RETRIES, configure

if TYPE_CHECKING:
    import httpx2


class AsyncFilesClient:
    """As `FilesClient`, for asyncio: the same methods with `await`, `async for` and `async with`."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        timeout: "float | httpx2.Timeout | None" = DEFAULT_TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        proxy: "str | httpx2.Proxy | None" = None,
        transport: "httpx2.AsyncBaseTransport | None" = None,
        default_headers: Mapping[str, str] | None = None,
    ) -> None:
        config = configure(
            api_key=api_key,
            base_url=base_url,
            organization=organization,
            project=project,
            timeout=timeout,
            max_retries=max_retries,
            max_response_bytes=max_response_bytes,
            default_headers=default_headers,
        )
        self._session = AsyncSession(config, transport=transport, proxy=proxy)

    @property
    def base_url(self) -> str:
        """Where requests go."""
        return self._session.config.base_url

    async def create_file(
        self,
        file: AsyncFileInput,
        purpose: str,
        *,
        expires_after: int | Mapping[str, object] | None = None,
        filename: str | None = None,
        on_progress: Progress | None = None,
    ) -> wire.FileObject:
        """As `FilesClient.create_file`; asynchronous iterables of bytes are taken too.

        Blocking sources are read on threads; `on_progress` is called on the event loop.
        """
        source = await in_thread(open_async_source, file)
        request = requests.create_file(
            source, purpose, expires_after=expires_after, filename=filename, on_progress=on_progress
        )
        return await self._ask(wire.FileObject, request)

    async def list_files(
        self,
        *,
        purpose: str | None = None,
        limit: int | None = None,
        order: str | None = None,
        after: str | None = None,
    ) -> wire.ListFilesResponse:
        """One page of files; `order` is `asc` or `desc` by creation, `after` the id of the last file of a page."""
        request = requests.list_files(purpose=purpose, limit=limit, order=order, after=after)
        return await self._ask(wire.ListFilesResponse, request)

    async def iter_files(
        self,
        *,
        purpose: str | None = None,
        limit: int | None = None,
        order: str | None = None,
        after: str | None = None,
    ) -> AsyncIterator[wire.FileObject]:
        """All files over all pages; `limit` is the size of a page. A page is fetched when its first file is needed."""
        pages = Pages(after)
        while True:
            page = await self.list_files(purpose=purpose, limit=limit, order=order, after=pages.after)
            for file in page.data:
                yield file
            if not pages.more(page):
                return

    async def retrieve_file(self, file_id: str) -> wire.FileObject:
        """The file object. Raises `NotFoundError`; `ValueError` for an empty id."""
        return await self._ask(wire.FileObject, requests.retrieve_file(file_id))

    async def delete_file(self, file_id: str) -> wire.FileDeleted:
        """Delete a file. Raises `NotFoundError`, also when a retry finds that the first try has deleted it."""
        return await self._ask(wire.FileDeleted, requests.delete_file(file_id))

    @overload
    async def download_file(
        self, file_id: str, to: None = None, *, resume: bool = True, on_progress: Progress | None = None
    ) -> FileContent: ...
    @overload
    async def download_file(
        self, file_id: str, to: str | os.PathLike[str], *, resume: bool = True, on_progress: Progress | None = None
    ) -> Path: ...
    @overload
    async def download_file(
        self, file_id: str, to: BinaryWritable, *, resume: bool = True, on_progress: Progress | None = None
    ) -> int: ...
    async def download_file(
        self,
        file_id: str,
        to: Target = None,
        *,
        resume: bool = True,
        on_progress: Progress | None = None,
    ) -> Saved:
        """As `FilesClient.download_file`; a file object is written to on threads."""
        filename = (await self.retrieve_file(file_id)).filename if await in_thread(is_folder, to) else ""
        retries = self._session.config.max_retries
        transfer = Transfer(file_id, max_retries=retries, resume=resume, on_progress=on_progress)
        delivery = await in_thread(Delivery, transfer, to, filename)
        try:
            async with aclosing(self._session.chunks(transfer)) as chunks:
                async for chunk in chunks:
                    if delivery.take(chunk):
                        await in_thread(delivery.flush)
                    transfer.report()
            return await in_thread(delivery.finish)
        finally:
            await in_thread(delivery.leave)

    def stream_file(self, file_id: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """As `FilesClient.stream_file`. Whoever stops early should close the iterator (`contextlib.aclosing`)."""
        transfer = Transfer(file_id, start=start, max_retries=self._session.config.max_retries)
        # Not a generator itself: a bad argument is an error of the call, not of the first chunk.
        return self._stream(transfer)

    async def close(self) -> None:
        """Close the connections, and the given transport."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, shape: type[Shape], request: Request) -> Shape:
        answer = await self._session.send(request)
        return responses.decode(shape, answer.head, await answer.read())

    async def _stream(self, transfer: Transfer) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._session.chunks(transfer)) as chunks:
            async for chunk in chunks:
                if chunk:
                    yield chunk
