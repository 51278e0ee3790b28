"""`filestead files content`: to standard output, to the file named with -o, or to a new file beside a terminal.

Binary content never reaches a terminal, and no file is overwritten that was not named.
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
    printed = target in STDOUT_PATHS
    watched = not args.get("no-progress") and not (printed and sys.stdout.isatty())
    with open_session(args) as session, progress_bar(args.get("file-id"), wanted=watched) as report:
        download = Download(
            args.get("file-id"),
            max_retries=session.config.max_retries,
            restartable=not printed,
            on_progress=report,
        )
        make_error = partial(StatusError, "GET")
        chunks = transfer.receive(session, download, make_error=make_error)
        if printed:
            written = _print_content(chunks, download, forced="output" in args.values and bool(args.get("output")))
        else:
            written = _save_content(Path(target), chunks, download)
    if written:
        print(f"Wrote output to: {written}")


def _print_content(chunks: Generator[Chunk, None, None], download: Download, *, forced: bool) -> str | None:
    """Content to standard output, or to a new file (returned) if that is a terminal and the content is no text."""
    blocks = _join_into_blocks(chunks, download)
    first = next(blocks, b"")
    every = itertools.chain([first], blocks)
    if forced or not sys.stdout.isatty():
        for block in every:
            write_bytes(block)
        return None
    if not _is_text(first):
        return _write_new_file(download, every)
    decoder, held = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for block in every:
        # Only the first block has been looked at: what commands terminals behind it is made visible.
        text = held + decoder.decode(block)
        held = "\r" if text.endswith("\r") else ""  # The line may end with the next block.
        write(text.removesuffix("\r"))
    write(held)
    return None


def _save_content(path: Path, chunks: Generator[Chunk, None, None], download: Download) -> str:
    """Content to the named file, which is replaced when the new one is whole."""
    if path.is_dir():
        raise CommandError(f"-o {path} is a directory; name the file to write, as in -o {path / 'data.jsonl'}")
    if path.exists() and not os.access(path, os.W_OK):
        raise CommandError(f"-o {path} may not be written")
    if path.is_file() or not path.exists():
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            raise CommandError(f"-o {path} cannot be written: there is no directory {folder}")
        if not os.access(folder, os.W_OK):
            raise CommandError(f"-o {path} cannot be written: files may not be made in {folder}")
    os.umask(0o077)  # As the official client: a new file is for its owner. One that is there keeps its mode.
    transfer.save(chunks, download, path)
    return str(path)


def _join_into_blocks(chunks: Generator[Chunk, None, None], download: Download) -> Iterator[bytes]:
    """Chunks as blocks; the last one is given out when the content has come to its end, whole."""
    held = bytearray()
    for chunk in chunks:
        if len(held) >= BLOCK_BYTES:
            yield bytes(held)
            held.clear()
        held += chunk if isinstance(chunk, bytes) else b""  # Never restarted: standard output is not restartable.
        download.report_progress()
    if held:
        yield bytes(held)


def _write_new_file(download: Download, blocks: Iterator[bytes]) -> str:
    """A new file under the server's name for it, or one made up; gone again if the content does not come to its end."""
    name = safe_filename(download.filename, download.file_id) if download.filename else f"./file-{_random_suffix()}.bin"
    wanted = name
    while True:
        try:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            break
        except FileExistsError:
            name = fit_filename(wanted, f"-{_random_suffix()}")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for block in blocks:
                file.write(block)
    except BaseException:
        os.unlink(name)
        raise
    return name


def _random_suffix() -> str:
    return f"{secrets.randbelow(10**9):09}"


def _is_text(block: bytes) -> bool:
    """Whether a terminal can show it: UTF-8, of which the last character may be cut, without commands to terminals."""
    try:
        return not _CONTROL_CHARACTERS.search(codecs.getincrementaldecoder("utf-8")().decode(block))
    except UnicodeDecodeError:
        return False
