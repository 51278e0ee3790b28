# Generated from aio.py by scripts/generate_sync_client.py: edit that file.
"""The synchronous client. Requests and their meaning are defined in `_transport`, `_download` and `_upload`."""

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

from filestead import wire
from filestead.client._download import transfer
from filestead.client._download.destinations import BinaryWritable, Destination, Saved, is_directory
from filestead.client._download.download import Download, FileContent
from filestead.client._parts.creation import create_file
from filestead.client._parts.upload import NewFile
from filestead.client._transport import requests, responses
from filestead.client._transport.requests import Request
from filestead.client._transport.responses import PageCursor, Shape
from filestead.client._transport.session import Session
from filestead.client._upload.sources import FileInput, open_source
from filestead.client.config import (
    DEFAULT_TIMEOUT_SECONDS,
    MAX_RESPONSE_BYTES,
    MAX_RETRIES,
    PARALLEL_PARTS,
    OnProgress,
    configure,
)

if TYPE_CHECKING:
    import httpx2


class FilesClient:
    """The synchronous client of an OpenAI-compatible Files API.

    Settings that are None are read from OPENAI_API_KEY, OPENAI_BASE_URL (else the local server), OPENAI_ORG_ID and
    OPENAI_PROJECT_ID; OPENAI_CUSTOM_HEADERS adds headers. `timeout` is in seconds, or an `httpx2.Timeout`. A decoded
    JSON response of more than `max_response_bytes` raises `APIResponseValidationError`. All errors of the client are
    subclasses of `FilesteadError`. Threads may share a client. Close it, or enter it by `with`.
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
        """The URL that all paths of requests are relative to."""
        return self._session.config.base_url

    def create_file(
        self,
        file: FileInput,
        purpose: str,
        *,
        expires_after: int | Mapping[str, object] | None = None,
        filename: str | None = None,
        on_progress: OnProgress | None = None,
        parts: bool = True,
        parallel_parts: int = PARALLEL_PARTS,
        resume: str | os.PathLike[str] | None = None,
    ) -> wire.FileObject:
        """Upload a file in blocks; it is never in memory as a whole.

        Args:
            file: a path (also as a string), a binary file object, bytes, or an iterable of bytes.
            purpose: `assistants`, `batch`, `evals`, `fine-tune`, `user_data` or `vision`.
            expires_after: seconds from creation, or `{"anchor": "created_at", "seconds": n}`.
            filename: the name to store; by default the base name of the path or file object, else "upload".
            on_progress: called with the bytes sent and the size (None if unknown); a retry goes back. One call at a
                time, but with parts not always on the same thread.
            parts: whether a file of more than 64 MiB, or one of more than 16 MiB whose connection broke, is sent in
                parts of 16 MiB where the server has uploads in parts. Only the interrupted part is sent again.
            parallel_parts: how many parts are sent at a time.
            resume: path of a file that records which parts are stored, so that a later call with the same file,
                arguments and path continues after this process was killed. It is deleted after success.

        A file that can be read twice is retried with one Idempotency-Key: servers that support it store one file.
        Raises `OSError` or `TypeError` for an unusable `file` before any request; `SourceChanged`; `APIStatusError`.
        """
        source = open_source(file)
        new = NewFile(source, purpose, expires_after, filename, on_progress, parallel_parts)
        return create_file(self._session, new, parts=parts, resume=resume)

    def list_files(
        self,
        *,
        purpose: str | None = None,
        limit: int | None = None,
        order: str | None = None,
        after: str | None = None,
    ) -> wire.ListFilesResponse:
        """One page of files. `order` is `asc` or `desc` by creation; `after` is the id of the last file of a page."""
        request = requests.list_files(purpose=purpose, limit=limit, order=order, after=after)
        return self._request(wire.ListFilesResponse, request)

    def iter_files(
        self,
        *,
        purpose: str | None = None,
        limit: int | None = None,
        order: str | None = None,
        after: str | None = None,
    ) -> Iterator[wire.FileObject]:
        """All files of all pages; `limit` is the size of a page. A page is fetched when its first file is needed."""
        cursor = PageCursor(after)
        while True:
            page = self.list_files(purpose=purpose, limit=limit, order=order, after=cursor.after)
            yield from page.data
            if not cursor.advance(page):
                return

    def retrieve_file(self, file_id: str) -> wire.FileObject:
        """The file object. Raises `NotFoundError`; `ValueError` for an empty id."""
        return self._request(wire.FileObject, requests.retrieve_file(file_id))

    def delete_file(self, file_id: str) -> wire.FileDeleted:
        """Delete a file. Raises `NotFoundError`, also on a retry after an attempt that has deleted it."""
        return self._request(wire.FileDeleted, requests.delete_file(file_id))

    @overload
    def download_file(
        self, file_id: str, to: None = None, *, resume: bool = True, on_progress: OnProgress | None = None
    ) -> FileContent: ...
    @overload
    def download_file(
        self, file_id: str, to: str | os.PathLike[str], *, resume: bool = True, on_progress: OnProgress | None = None
    ) -> Path: ...
    @overload
    def download_file(
        self, file_id: str, to: BinaryWritable, *, resume: bool = True, on_progress: OnProgress | None = None
    ) -> int: ...
    def download_file(
        self, file_id: str, to: Destination = None, *, resume: bool = True, on_progress: OnProgress | None = None
    ) -> Saved:
        """Download a file: as bytes, to a path (returned), or into a binary file object (returns the bytes written).

        A path is replaced only by a complete and verified file; in a directory the file has the server's name for it.
        An interrupted download is resumed, also by a later call, unless `resume` is False or the server cannot.
        Raises `IntegrityError` for incomplete or damaged content, `OSError` for a path that cannot be written.
        """
        filename = ""
        if is_directory(to):
            file = self.retrieve_file(file_id)
            filename = file.filename
        max_retries = self._session.config.max_retries
        download = Download(file_id, max_retries=max_retries, resume=resume, on_progress=on_progress)
        return transfer.save(transfer.receive(self._session, download), download, to, filename=filename)

    def stream_file(self, file_id: str, *, start: int = 0) -> Iterator[bytes]:
        """The content in chunks, from byte `start` on; an interrupted download is resumed if the server supports it.

        Raises `IntegrityError` at the end for incomplete content, and for a wrong digest if `start` is 0. Close the
        iterator (`contextlib.closing`) to stop early.
        """
        download = Download(file_id, start=start, max_retries=self._session.config.max_retries)
        # Not a generator itself: an invalid argument raises in the call, not at the first chunk.
        return self._stream(download)

    def close(self) -> None:
        """Close the connections and the given transport."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _request(self, shape: type[Shape], request: Request) -> Shape:
        response = self._session.send(request)
        return responses.decode(shape, response.head, response.read())

    def _stream(self, download: Download) -> Generator[bytes, None]:
        with closing(transfer.receive(self._session, download)) as chunks:
            for chunk in chunks:
                if isinstance(chunk, bytes) and chunk:
                    yield chunk
