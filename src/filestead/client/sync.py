"""`FilesClient`: sends and stores. What to send and what an answer means is decided in the modules beside it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

from filestead import wire
from filestead.client._download.downloads import FileContent, Progress, Transfer
from filestead.client._download.sinks import BinaryWritable, Saved, Target, is_folder, save
from filestead.client._transport import requests, responses
from filestead.client._transport.requests import Request
from filestead.client._transport.responses import Pages, Shape
from filestead.client._transport.session import Session
from filestead.client._upload.sources import FileInput, open_source
from filestead.client.config import DEFAULT_TIMEOUT_SECONDS, MAX_RESPONSE_BYTES, MAX_RETRIES, configure

if TYPE_CHECKING:
    import httpx2


class FilesClient:
    """A client of an OpenAI-compatible Files API.

    Settings that are None come from OPENAI_API_KEY, OPENAI_BASE_URL (else the local server), OPENAI_ORG_ID and
    OPENAI_PROJECT_ID; OPENAI_CUSTOM_HEADERS adds headers. `timeout` is in seconds, or an `httpx2.Timeout`. A JSON
    answer of more than `max_response_bytes`, unpacked, is an `APIResponseValidationError`. Every method raises errors
    below `FilesteadError`. Threads may share a client; close it, or use it in a `with` statement.
    """

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
        transport: "httpx2.BaseTransport | None" = None,
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
        self._session = Session(config, transport=transport, proxy=proxy)

    @property
    def base_url(self) -> str:
        """Where requests go."""
        return self._session.config.base_url

    def create_file(
        self,
        file: FileInput,
        purpose: str,
        *,
        expires_after: int | Mapping[str, object] | None = None,
        filename: str | None = None,
        on_progress: Progress | None = None,
    ) -> wire.FileObject:
        """Upload a file, in blocks, never as a whole in memory.

        Args:
            file: a path (a plain string is one), a binary file object, bytes, or an iterable of bytes.
            purpose: `assistants`, `batch`, `evals`, `fine-tune`, `user_data` or `vision`.
            expires_after: seconds from creation, or `{"anchor": "created_at", "seconds": n}`.
            filename: the name to store; by default the base name of the path or file object, else "upload".
            on_progress: called with the bytes sent and the size (None if unknown); starts anew when a try is repeated.

        What can be read twice is retried with one Idempotency-Key, so a server that knows the header stores one file.
        Raises `OSError` or `TypeError` for an unusable `file` before any request; `SourceChanged`; `APIStatusError`.
        """
        source = open_source(file)
        request = requests.create_file(
            source, purpose, expires_after=expires_after, filename=filename, on_progress=on_progress
        )
        return self._ask(wire.FileObject, request)

    def list_files(
        self,
        *,
        purpose: str | None = None,
        limit: int | None = None,
        order: str | None = None,
        after: str | None = None,
    ) -> wire.ListFilesResponse:
        """One page of files; `order` is `asc` or `desc` by creation, `after` the id of the last file of a page."""
        request = requests.list_files(purpose=purpose, limit=limit, order=order, after=after)
        return self._ask(wire.ListFilesResponse, request)

    def iter_files(
        self,
        *,
        purpose: str | None = None,
        limit: int | None = None,
        order: str | None = None,
        after: str | None = None,
    ) -> Iterator[wire.FileObject]:
        """All files over all pages; `limit` is the size of a page. A page is fetched when its first file is needed."""
        pages = Pages(after)
        while True:
            page = self.list_files(purpose=purpose, limit=limit, order=order, after=pages.after)
            yield from page.data
            if not pages.more(page):
                return

    def retrieve_file(self, file_id: str) -> wire.FileObject:
        """The file object. Raises `NotFoundError`; `ValueError` for an empty id."""
        return self._ask(wire.FileObject, requests.retrieve_file(file_id))

    def delete_file(self, file_id: str) -> wire.FileDeleted:
        """Delete a file. Raises `NotFoundError`, also when a retry finds that the first try has deleted it."""
        return self._ask(wire.FileDeleted, requests.delete_file(file_id))

    @overload
    def download_file(
        self, file_id: str, to: None = None, *, resume: bool = True, on_progress: Progress | None = None
    ) -> FileContent: ...
    @overload
    def download_file(
        self, file_id: str, to: str | os.PathLike[str], *, resume: bool = True, on_progress: Progress | None = None
    ) -> Path: ...
    @overload
    def download_file(
        self, file_id: str, to: BinaryWritable, *, resume: bool = True, on_progress: Progress | None = None
    ) -> int: ...
    def download_file(
        self,
        file_id: str,
        to: Target = None,
        *,
        resume: bool = True,
        on_progress: Progress | None = None,
    ) -> Saved:
        """Download a file: as bytes, to a path (returned), or into a binary file object (bytes written returned).

        A path is replaced only by a whole and verified file; a folder takes the file under the server's name. What
        broke off goes on where it was, also in a later call, unless `resume` is False or the server cannot.
        Raises `IntegrityError` for content that is cut short or damaged, `OSError` for a path that cannot be written.
        """
        filename = self.retrieve_file(file_id).filename if is_folder(to) else ""
        retries = self._session.config.max_retries
        transfer = Transfer(file_id, max_retries=retries, resume=resume, on_progress=on_progress)
        return save(to, self._session.chunks(transfer), transfer, filename=filename)

    def stream_file(self, file_id: str, *, start: int = 0) -> Iterator[bytes]:
        """The content in chunks, from byte `start` on; a break in the middle is mended where the server can.

        Raises `IntegrityError` at the end if the content was cut short or (from 0 on) is not what the digest says.
        """
        transfer = Transfer(file_id, start=start, max_retries=self._session.config.max_retries)
        # Not a generator itself: a bad argument is an error of the call, not of the first chunk.
        return self._stream(transfer)

    def close(self) -> None:
        """Close the connections, and the given transport."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, shape: type[Shape], request: Request) -> Shape:
        answer = self._session.send(request)
        return responses.decode(shape, answer.head, answer.read())

    def _stream(self, transfer: Transfer) -> Iterator[bytes]:
        for chunk in self._session.chunks(transfer):
            if chunk:
                yield chunk
