"""`filestead files content`: download to standard output or to the file named with -o.

Binary content is never written to a terminal, but to a new file. No file is overwritten unless it was named.
"""

import codecs
import itertools
import os
import re
import secrets
import sys
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

from filestead.cli.client.connection import StatusError, open_session
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.grammar.sniffing import guess_extension, is_text
from filestead.cli.client.operations import resolve_args
from filestead.cli.errors import CommandError
from filestead.cli.terminal.progress import progress_bar
from filestead.cli.terminal.streams import write, write_bytes
from filestead.client._download import transfer
from filestead.client._download.download import Chunk, Download
from filestead.client._download.filenames import fit_filename, safe_filename
from filestead.client._upload.sources import BLOCK_BYTES

STDOUT_PATHS = frozenset({"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")


def content(command: Command, args: ParsedArgs) -> None:
    """Download the content of a file."""
    resolve_args(command, args)
    target = args.get("output") or "-"
    to_stdout = target in STDOUT_PATHS
    show_progress = not args.get("no-progress") and not (to_stdout and sys.stdout.isatty())
    with open_session(args) as session, progress_bar(args.get("file-id"), enabled=show_progress) as report:
        download = Download(
            args.get("file-id"),
            max_retries=session.config.max_retries,
            restartable=not to_stdout,
            on_progress=report,
        )
        make_error = partial(StatusError, "GET")
        chunks = transfer.receive(session, download, make_error=make_error)
        if to_stdout:
            written = _print_content(chunks, download, forced="output" in args.values and bool(args.get("output")))
        else:
            written = _save_content(Path(target), chunks, download)
    if written:
        print(f"Wrote output to: {written}")


def _print_content(chunks: Generator[Chunk, None, None], download: Download, *, forced: bool) -> str | None:
    """Write to standard output, or to a new file (returned) if that is a terminal and the content is not text."""
    blocks = _join_into_blocks(chunks, download)
    first = next(blocks, b"")
    content = itertools.chain([first], blocks)
    if forced or not sys.stdout.isatty():
        for block in content:
            write_bytes(block)
        return None
    if not is_text(first) or _CONTROL_CHARACTERS.search(first.decode("utf-8", "replace")):
        return _write_new_file(download, first, content)
    decoder, pending = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for block in content:
        # Only the first block has been checked; `write` escapes control characters in later ones.
        text = pending + decoder.decode(block)
        pending = "\r" if text.endswith("\r") else ""  # The next block may begin with the newline.
        write(text.removesuffix("\r"))
    write(pending)
    return None


def require_writable(path: str | Path, flag: str) -> None:
    """Raise `CommandError` if the path that a flag names cannot be written."""
    path = Path(path)
    if path.is_dir():
        raise CommandError(
            f"{flag} {path} is a directory; pass the path of a file, such as {flag} {path / 'data.jsonl'}"
        )
    if path.exists() and not os.access(path, os.W_OK):
        raise CommandError(f"{flag} {path} cannot be written: permission denied")
    if path.is_file() or not path.exists():
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            raise CommandError(f"{flag} {path} cannot be written: directory {folder} does not exist")
        if not os.access(folder, os.W_OK):
            raise CommandError(f"{flag} {path} cannot be written: no permission to create files in {folder}")


def save_private(chunks: Generator[Chunk, None, None], download: Download, path: str | Path) -> None:
    """Write to a path, which is replaced when the download is complete."""
    os.umask(0o077)  # As by the official client, a new file is private to its owner. An existing file keeps its mode.
    transfer.save(chunks, download, path)


def _save_content(path: Path, chunks: Generator[Chunk, None, None], download: Download) -> str:
    """Write to the named file. As by the official client, an error of the server comes before one of the file."""
    try:
        require_writable(path, "-o")
    except CommandError:
        next(chunks, None)
        raise
    save_private(chunks, download, path)
    return str(path)


def _join_into_blocks(chunks: Generator[Chunk, None, None], download: Download) -> Iterator[bytes]:
    """Join chunks into blocks. The last block is yielded only after the end of the content, when it is complete."""
    pending = bytearray()
    for chunk in chunks:
        if len(pending) >= BLOCK_BYTES:
            yield bytes(pending)
            pending.clear()
        pending += chunk if isinstance(chunk, bytes) else b""  # Standard output is not restartable.
        download.report_progress()
    if pending:
        yield bytes(pending)


def _write_new_file(download: Download, first: bytes, content: Iterator[bytes]) -> str:
    """Create a file under the server's name for it, or a random one. It is removed if the download fails."""
    for name in _new_names(download, first):
        try:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            break
        except FileExistsError:
            continue
    try:
        with os.fdopen(descriptor, "wb") as file:
            for block in content:
                file.write(block)
    except BaseException:
        os.unlink(name)
        raise
    return name


def _new_names(download: Download, first: bytes) -> Iterator[str]:
    """The server's name, then random ones in this directory, whose extension comes from the name or the content."""
    base = "file"
    if download.filename:
        base = safe_filename(download.filename, download.file_id)
        yield base
    if not os.path.splitext(base)[1]:
        base += guess_extension(first)
    while True:
        yield f"./{fit_filename(base, f'-{_random_suffix()}')}"


def _random_suffix() -> str:
    return f"{secrets.randbelow(10**9):09}"
