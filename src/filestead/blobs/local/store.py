"""Blobs on a local disk. For the layout and the permissions see `volume.py`.

Guarantees: the staging file is created exclusively, written, synced and renamed, and the directory synced, in this
order. A failed sync is final: the file is deleted and never synced again. Keys are random; no name chosen by a user
becomes part of a path. Requires one local POSIX file system for both folders.
Limit: leaves `reserve_bytes` of the disk free for the database.
"""

import asyncio
import contextlib
import functools
import os
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from time import perf_counter
from typing import Any

from filestead.blobs.blocks import block_bytes
from filestead.blobs.disk import sync_directory, translate_disk_errors
from filestead.blobs.keys import KEY
from filestead.blobs.local.volume import PROBE_PREFIX, LocalVolume, list_names
from filestead.domain.blobs import OpenFile
from filestead.domain.errors import BlobNotFound, StorageFailed
from filestead.domain.integrity import Violation
from filestead.domain.observation import UNOBSERVED, Observer

THREADS = 16
SPACE_CHECK_BYTES = 32 * 1024 * 1024
"""An upload checks the free disk space again each time it has written so much."""
WRITE_OUT_BYTES = 8 * 1024 * 1024
"""What has arrived of a file begins to be written to the disk in steps of so much."""


class LocalBlobs:
    """A `BlobStore`; its docstrings are the contract."""

    needs_read_verification = False

    def __init__(
        self, root: Path, *, reserve_bytes: int, neighbours: Iterable[str] = (), observer: Observer = UNOBSERVED
    ) -> None:
        """`neighbours` are the other files that belong in the folder `root`."""
        self._volume = LocalVolume(root, reserve_bytes=reserve_bytes, neighbours=neighbours)
        self._observer = observer
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="filestead-blobs")
        self._reading: set[int] = set()
        """The descriptors of the blobs that are being read."""

    def open(self, installation: str, *, fresh: bool) -> None:
        """Create the folders of a fresh installation, or check that they belong to `installation`. Blocks."""
        self._volume.open(installation, fresh=fresh)

    def close(self) -> None:
        self._pool.shutdown()

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        first = await anext(chunks, b"")
        second = await anext(chunks, None)
        upload = self._upload(key)
        job: Future[Any] | None = None
        try:
            if second is None:  # most files are one block: a single call on a thread does everything
                job = self._pool.submit(upload.store, first)
            else:
                job = self._pool.submit(upload.start, first)
                await asyncio.wrap_future(job)
                job = self._pool.submit(upload.write, second)
                async for chunk in chunks:
                    await asyncio.wrap_future(job)
                    job = self._pool.submit(upload.write, chunk)
                await asyncio.wrap_future(job)
                job = self._pool.submit(upload.finish)
            size: int = await asyncio.wrap_future(job)
            return size
        except BaseException:
            await asyncio.shield(self._run(_abort, upload, job))
            raise

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        file, size = await self._run(self._open_blob, key)
        self._reading.add(file.descriptor)
        try:
            if end is not None and end > size:
                raise BlobNotFound(key)
            left = (size if end is None else end) - start
            offset = start
            while left > 0:
                most = block_bytes(len(self._reading))
                block = await self._run(_read, file, min(left, most), offset)
                if not block:
                    return
                offset += len(block)
                left -= len(block)
                yield block
        finally:
            self._reading.discard(file.descriptor)
            file.close()

    def require_free_space(self, size: int) -> None:
        """Raise `StorageFull` unless so many bytes fit on the disk beside the database's reserve."""
        self._volume.require_free_space(size)

    def open_file(self, key: str) -> OpenFile:
        """Open a blob for reading. Blocks; raises `BlobNotFound` or `StorageFailed`."""
        return self._open_blob(key)[0]

    def _open_blob(self, key: str) -> tuple[OpenFile, int]:
        try:
            # Non-blocking, so that a FIFO is not waited for.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = OpenFile(os.open(self._volume.blob_path(key), flags))
        except FileNotFoundError:
            raise BlobNotFound(key) from None
        except OSError as error:
            raise StorageFailed(f"opening a blob: {error.strerror}") from error
        status = os.fstat(file.descriptor)
        if not stat.S_ISREG(status.st_mode):
            file.close()
            raise BlobNotFound(key)
        return file, status.st_size

    async def size(self, key: str) -> int | None:
        size: int | None = await self._run(self._size, key)
        return size

    def _size(self, key: str) -> int | None:
        try:
            status = os.lstat(self._volume.blob_path(key))
        except FileNotFoundError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    async def exists(self, key: str) -> bool:
        paths = (self._volume.blob_path(key), self._volume.staging_path(key))
        found: bool = await self._run(lambda: any(map(os.path.lexists, paths)))
        return found

    async def delete(self, key: str) -> None:
        await self._run(self._delete, key)

    def _delete(self, key: str) -> None:
        folder = self._volume.blob_folder(key)
        with translate_disk_errors("deleting a blob"):
            self._volume.require_no_links(self._volume.staging, folder)
            for path in (self._volume.staging_path(key), self._volume.blob_path(key)):
                _unlink(path)
            # Even if nothing was there: an earlier removal of this name may not be durable yet.
            sync_directory(folder, self._observer)

    async def list_incomplete(self) -> AsyncGenerator[str]:
        for name in await self._run(list_names, self._volume.staging):
            if _is_key(name):
                yield name

    async def abort_incomplete(self, key: str) -> None:
        await self._run(self._delete_staged, key)

    def _delete_staged(self, key: str) -> None:
        with translate_disk_errors("deleting an incomplete blob"):
            self._volume.require_no_links(self._volume.staging)
            _unlink(self._volume.staging_path(key))

    async def stored_keys(self) -> AsyncGenerator[str]:
        for folder in (self._volume.staging, *self._volume.blob_folders()):
            for name in await self._run(list_names, folder):
                if _is_key(name):
                    yield name

    async def probe(self) -> None:
        # Random, as nodes in containers share process ids.
        await self._run(self._upload(f"{PROBE_PREFIX}{secrets.token_hex(4)}").store_and_delete, b"probe")

    def inspect(self) -> list[Violation]:
        """Links, foreign names, and wrong types, modes and owners anywhere in the data directory. Blocks."""
        return self._volume.inspect()

    def _upload(self, key: str) -> "_Upload":
        return _Upload(self._volume, key, self._observer)

    def _run(self, function: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(function, *args))


def _is_key(name: str) -> bool:
    """Whether a name is a key of a blob; probes are no blobs."""
    return KEY.fullmatch(name) is not None and not name.startswith(PROBE_PREFIX)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _read(file: OpenFile, size: int, offset: int) -> bytes:
    with translate_disk_errors("reading a blob"):
        return os.pread(file.descriptor, size, offset)


class _Upload:
    """The file of one blob while it is written. Its methods block; they run on threads, never two at once."""

    def __init__(self, volume: LocalVolume, key: str, observer: Observer) -> None:
        self._staging = volume.staging_path(key)
        self._folder = volume.blob_folder(key)
        self._target = volume.blob_path(key)
        self._require_free_space = volume.require_free_space
        self._observer = observer
        self._fd: int | None = None
        self._size = 0
        self._written_out = 0
        self._path: str | None = None
        """The present name of the file; None until it is created, as a file of that name may be another upload's."""

    def store(self, block: bytes) -> int:
        """Store the whole blob in one call."""
        self.start(block)
        return self.finish()

    def store_and_delete(self, block: bytes) -> None:
        """Perform every step and leave nothing behind."""
        try:
            self.store(block)
        finally:
            self.abort()

    def start(self, block: bytes) -> None:
        with translate_disk_errors("creating a blob"):
            self._require_free_space(len(block))
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._staging, flags, 0o600)
            self._path = self._staging
        self.write(block)

    def write(self, block: bytes) -> None:
        assert self._fd is not None
        with translate_disk_errors("writing a blob"):
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            before, self._size = self._size, self._size + len(block)
            self._write_out(self._fd)
            if before // SPACE_CHECK_BYTES != self._size // SPACE_CHECK_BYTES:
                self._require_free_space(0)

    def _write_out(self, fd: int) -> None:
        """Have the system begin to write what has arrived, so that the disk works while the rest arrives.

        `POSIX_FADV_DONTNEED` begins to write the dirty pages of the range; it drops none of them, as it drops only
        clean ones. It is a hint: `finish` syncs the file, and reports errors of writing, in any case.
        """
        begun, self._written_out = self._written_out, self._size - self._size % WRITE_OUT_BYTES
        if begun < self._written_out:
            with contextlib.suppress(OSError):
                os.posix_fadvise(fd, begun, self._written_out - begun, os.POSIX_FADV_DONTNEED)

    def finish(self) -> int:
        """Sync the file, rename it, and sync the directory."""
        assert self._fd is not None
        with translate_disk_errors("syncing a blob"):
            started = perf_counter()
            os.fsync(self._fd)
            self._observer.sync("file", perf_counter() - started)
            fd, self._fd = self._fd, None
            os.close(fd)
            os.rename(self._staging, self._target)
            self._path = self._target
            sync_directory(self._folder, self._observer)
        return self._size

    def abort(self) -> None:
        """Delete the file."""
        with translate_disk_errors("deleting an incomplete blob"):
            if self._fd is not None:
                fd, self._fd = self._fd, None
                os.close(fd)
            if self._path is not None:
                _unlink(self._path)


def _abort(upload: _Upload, job: "Future[Any] | None") -> None:
    # A cancelled caller may have left a write running.
    if job is not None:
        wait([job])
    upload.abort()
