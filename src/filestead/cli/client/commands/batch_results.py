"""`filestead batches results`: the results of a batch, while it runs (Filestead) or from its files (any server)."""

import codecs
import contextlib
import os
import sys
import time
from collections.abc import Generator, Iterator
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Self

from filestead.cli.client.commands.batch_requests import OUTAGE_TIMEOUT, BatchView, fetch, path_of, wait_for_end
from filestead.cli.client.commands.file_content import STDOUT_PATHS, require_writable, save_private
from filestead.cli.client.connection import StatusError, open_session
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.operations import resolve_args
from filestead.cli.errors import CommandError
from filestead.cli.terminal.escaping import escape_line
from filestead.cli.terminal.streams import warn, write, write_bytes
from filestead.client._download import transfer
from filestead.client._download.download import CONTENT_RANGE, Download
from filestead.client._transport.requests import Request
from filestead.client._transport.session import Session
from filestead.client.errors import APIConnectionError

_HOLD = "20"
"""Seconds for which the server may hold a request for results that do not exist yet."""
_PAUSE = 1.0
_NO_ROUTE = frozenset({404, 405, 501})
_NOTHING_NEW = frozenset({204, 304, 416})


class Kind(Enum):
    """Which results; the value is the route of Filestead that has them while the batch runs."""

    OUTPUT = "output"
    ERROR = "errors"

    def file_id(self, batch: BatchView) -> str | None:
        """The file of an ended batch; None if it has no such lines."""
        return batch.output_file_id if self is Kind.OUTPUT else batch.error_file_id


def results(command: Command, args: ParsedArgs) -> None:
    """Print or save the results so far; with --follow, until the batch has ended."""
    resolve_args(command, args)
    kind = Kind.ERROR if args.get("errors") else Kind.OUTPUT
    target: str = args.get("output") or "-"
    if target not in STDOUT_PATHS:
        require_writable(target, "-o")
    with open_session(args) as session:
        batch = fetch(session, Request("GET", path_of(args.get("batch-id"))))
        if batch.ended and target not in STDOUT_PATHS:
            save_results(session, batch, kind, target)
            return
        lines = _Results(session, batch, kind).blocks(follow=bool(args.get("follow")))
        first = next(lines, b"")  # before the file is opened: an error leaves it as it is
        with _Sink(target) as sink, contextlib.closing(lines):
            sink.write(first)
            for data in lines:
                sink.write(data)


def save_results(session: Session, batch: BatchView, kind: Kind, target: str) -> None:
    """Write the results of an ended batch to a file or to standard output, and say so; nothing if there are none."""
    file_id = kind.file_id(batch)
    if file_id is None:
        if target not in STDOUT_PATHS:
            warn(f"{escape_line(batch.id)} has no {kind.value} file; nothing was written to {target}")
        return
    if target in STDOUT_PATHS:
        with _Sink(target) as sink:
            for data in _content(session, file_id, 0):
                sink.write(data)
        return
    download = Download(file_id, max_retries=session.config.max_retries, restartable=True)
    chunks = transfer.receive(session, download, make_error=partial(StatusError, "GET"))
    save_private(chunks, download, target)
    print(f"Wrote output to: {target}", file=sys.stderr)


class _Results:
    """The results of one kind, from the first byte on."""

    def __init__(self, session: Session, batch: BatchView, kind: Kind) -> None:
        self._session = session
        self._batch = batch
        self._kind = kind
        self._position = 0
        self._has_route = True

    def blocks(self, *, follow: bool) -> Generator[bytes, None]:
        """Yield them in blocks of any size. Raises `CommandError` if another server has none before the end."""
        while not self._batch.ended:
            before, start = self._position, time.monotonic()
            yield from self._read_with_retries() if follow else self._read()
            if not self._has_route:
                yield from self._after_the_end(follow=follow)
                return
            if not follow:
                return
            if self._position == before:
                self._batch = fetch(self._session, Request("GET", path_of(self._batch.id)))
                if time.monotonic() - start < _PAUSE:
                    time.sleep(_PAUSE)
        yield from self._rest()

    def _after_the_end(self, *, follow: bool) -> Iterator[bytes]:
        """Go on without the route: the batch has ended meanwhile, or the server is another one."""
        if follow:
            self._batch = wait_for_end(self._session, self._batch.id, lambda batch: None)
        else:
            self._batch = fetch(self._session, Request("GET", path_of(self._batch.id)))
            if not self._batch.ended:
                raise CommandError(
                    f"{escape_line(self._batch.id)} is {escape_line(self._batch.status)}, and this server has results "
                    "only at the end; add --follow to wait"
                )
        yield from self._rest()

    def _rest(self) -> Iterator[bytes]:
        file_id = self._kind.file_id(self._batch)
        if file_id is None:
            return
        try:
            yield from _content(self._session, file_id, self._position)
        except StatusError as error:
            if not (error.status == 416 and self._position):  # everything was read while the batch ran
                raise

    def _read_with_retries(self) -> Iterator[bytes]:
        deadline = time.monotonic() + OUTAGE_TIMEOUT
        while True:
            try:
                yield from self._read(hold=True)
            except APIConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def _read(self, *, hold: bool = False) -> Iterator[bytes]:
        """One request for what is new."""
        span = (("Range", f"bytes={self._position}-"),) if self._position else ()
        headers = (("Accept-Encoding", "identity"), *span)
        path = path_of(self._batch.id, f"/{self._kind.value}")
        request = Request("GET", path, (("wait", _HOLD),) if hold else (), headers)
        with contextlib.closing(self._session.send(request, stream=True)) as response:
            status = response.head.status
            self._has_route = status not in _NO_ROUTE
            if not self._has_route or status in _NOTHING_NEW:
                return
            if status >= 300:
                raise StatusError("GET", response.head, response.read())
            found = CONTENT_RANGE.fullmatch(response.head.headers.get("content-range", "").strip())
            start = int(found[1]) if status == 206 and found else 0
            for data in response.iter_bytes():
                new = data[max(0, self._position - start) :]
                start += len(data)
                self._position += len(new)
                if new:
                    yield new


class _Sink:
    """Standard output, or a file that is private to its owner."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._file = None if target in STDOUT_PATHS else open(target, "wb", opener=_private)  # noqa: SIM115
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace") if sys.stdout.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            if kind is None:
                print(f"Wrote output to: {self._target}", file=sys.stderr)

    def write(self, data: bytes) -> None:
        """Write at once: a reader is shown each line as it comes."""
        if self._file is not None:
            self._file.write(data)
            self._file.flush()
        elif self._decoder is not None:
            write(self._decoder.decode(data))
        else:
            write_bytes(data)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _content(session: Session, file_id: str, start: int) -> Iterator[bytes]:
    download = Download(file_id, max_retries=session.config.max_retries, start=start)
    for chunk in transfer.receive(session, download, make_error=partial(StatusError, "GET")):
        assert isinstance(chunk, bytes), "the download is not restartable"
        yield chunk
