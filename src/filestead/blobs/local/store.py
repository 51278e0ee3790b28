"""Blobs on a local disk.

Layout: `staging/<key>` while being written, `blobs/<first two characters>/<key>` once whole; `VOLUME` holds the id of
the installation. Keys are random and ours; no name of a user ever reaches a path.
Guarantees: staging file created exclusively, written, synced, renamed, directory synced, in this order; a failed sync
is final: the file is dropped and never synced again. Needs one local POSIX file system for both folders.
Permissions: folders 0700, files 0600. Limit: keeps `reserve_bytes` of the disk free for the database.
"""

import asyncio
import contextlib
import functools
import logging
import os
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from filestead.blobs import inspection
from filestead.blobs.disk import sync_directory, translate_disk_errors
from filestead.blobs.keys import KEY
from filestead.domain.errors import BlobNotFound, CannotStart, StorageFailed, StorageFull
from filestead.domain.integrity import Violation

log = logging.getLogger("filestead")

SHARDS = tuple(f"{n:02x}" for n in range(256))
PROBE = "0" * 24
"""Begins the keys of probes, which no row knows: a start removes what a killed probe has left."""
THREADS = 16
READ_BYTES = 1024 * 1024
WARNINGS = 5
"""Lines of the log when a server starts."""

FLUSH_BYTES = 32 * 1024 * 1024


class LocalBlobs:
    """See `stores.BlobStore` for the contract."""

    verify_reads = False

    def __init__(self, root: Path, *, reserve_bytes: int, neighbours: Iterable[str] = ()) -> None:
        """`neighbours` are the files beside ours in the folder `root` that belong there, too."""
        self._root = root
        self._files = dict.fromkeys(("VOLUME", *neighbours), inspection.FILE)
        self._staging = root / "staging"
        self._blobs = root / "blobs"
        self._folders = (self._staging, *(self._blobs / shard for shard in SHARDS))
        self._reserve_bytes = reserve_bytes
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="filestead-blobs")

    # --- the volume ---------------------------------------------------------------------------------------------

    def open(self, installation: str, *, fresh: bool) -> None:
        """Make the folders of a fresh installation, or see to it that these are the folders of `installation`."""
        volume = self._root / "VOLUME"
        # Before the first of them is opened, made or emptied: they could be links to what is not ours.
        inspection.require_own(self._root, {"VOLUME": "file", "staging": "folder", "blobs": "folder"})
        inspection.require_own(self._blobs, dict.fromkeys(SHARDS, "folder"))
        if fresh and not any(map(_names, self._folders)):
            # A VOLUME that is there already is of a first start that was cut off.
            self._create(volume, installation)
        elif not volume.exists():
            raise CannotStart(
                f"{self._root} holds no blobs of this database (the file VOLUME is missing): this is the wrong volume "
                "or an emptied one. Mount the right one, or restore the blobs from the backup"
            )
        found = volume.read_text().strip()
        if found != installation:
            raise CannotStart(
                f"{self._root} holds the blobs of another installation ({found} instead of {installation}): "
                "mount the volume that belongs to this database"
            )
        if not self._staging.is_dir():  # a backup does without it
            self._staging.mkdir(mode=0o700)
        for folder in (self._staging, self._blobs / PROBE[:2]):
            for name in _names(folder):
                if name.startswith(PROBE):
                    (folder / name).unlink()
        missing = sum(not folder.is_dir() for folder in self._folders)
        if missing:
            raise CannotStart(
                f"{self._blobs} is not whole ({missing} of {len(SHARDS)} folders are missing): restore it from the "
                "backup; `filestead verify` names the files that are lost"
            )
        self._warn()

    def _warn(self) -> None:
        """Say what others could read or change."""
        owner = os.geteuid()
        found = [finding for finding in self._inspect_folders(owner) if not finding.evidence.endswith("of Filestead")]
        for finding in found[:WARNINGS]:
            log.warning("%s: %s; %s", finding.subject, finding.evidence, finding.remedy)
        if len(found) > WARNINGS:
            log.warning("and %d more like these: `filestead verify` names them", len(found) - WARNINGS)

    def _create(self, volume: Path, installation: str) -> None:
        with translate_disk_errors("preparing the blob folders"):
            self._staging.mkdir(mode=0o700, exist_ok=True)
            self._blobs.mkdir(mode=0o700, exist_ok=True)
            for shard in SHARDS:
                (self._blobs / shard).mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._blobs)
            fd = os.open(volume, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, f"{installation}\n".encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            sync_directory(self._root)

    def close(self) -> None:
        """Wait for what is running."""
        self._pool.shutdown()

    # --- the store ----------------------------------------------------------------------------------------------

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Store the chunks durably; all or nothing."""
        first = await anext(chunks, b"")
        second = await anext(chunks, None)
        upload = _Upload(self._staging / key, self._path(key), self._require_room)
        job: Future[Any] | None = None
        try:
            if second is None:  # most files are one block: one hop to a thread does it all
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
            await asyncio.shield(self._run(_give_up, upload, job))
            raise

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes from `start` to `end`."""
        fd, size = await self._run(self._open, key)
        try:
            if end is not None and end > size:
                raise BlobNotFound(key)
            left = (size if end is None else end) - start
            offset = start
            while left > 0:
                block = await self._run(self._read, fd, min(left, READ_BYTES), offset)
                if not block:
                    return
                offset += len(block)
                left -= len(block)
                yield block
        finally:
            os.close(fd)

    def _open(self, key: str) -> tuple[int, int]:
        try:
            # A FIFO is not waited for.
            fd = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobNotFound(key) from None
        except OSError as error:
            raise StorageFailed(f"opening a blob: {error.strerror}") from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise BlobNotFound(key)
        return fd, status.st_size

    def _read(self, fd: int, size: int, offset: int) -> bytes:
        with translate_disk_errors("reading a blob"):
            return os.pread(fd, size, offset)

    async def size(self, key: str) -> int | None:
        """The blob's size."""
        size: int | None = await self._run(self._size, key)
        return size

    def _size(self, key: str) -> int | None:
        try:
            status = os.lstat(self._path(key))
        except FileNotFoundError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    async def exists(self, key: str) -> bool:
        """Whether a whole or unfinished blob is there."""
        paths = (self._path(key), self._staging / key)
        found: bool = await self._run(lambda: any(map(os.path.lexists, paths)))
        return found

    async def delete(self, key: str) -> None:
        """Remove the blob and what an unfinished `put` left."""
        await self._run(self._delete, key)

    def _delete(self, key: str) -> None:
        with translate_disk_errors("removing a blob"):
            self._require_unlinked(self._staging, self._path(key).parent)
            for path in (self._staging / key, self._path(key)):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
            # Also when nothing was there: the last removal of this name may not be durable yet.
            sync_directory(self._path(key).parent)

    async def unfinished(self) -> AsyncGenerator[str]:
        """Every key in the staging folder."""
        for name in await self._run(_names, self._staging):
            if KEY.fullmatch(name) and not name.startswith(PROBE):
                yield name

    async def drop_unfinished(self, key: str) -> None:
        """Remove what an unfinished `put` left."""
        await self._run(self._drop_unfinished, key)

    def _drop_unfinished(self, key: str) -> None:
        with translate_disk_errors("removing an unfinished blob"):
            self._require_unlinked(self._staging)
            (self._staging / self._path(key).name).unlink(missing_ok=True)

    async def stored_keys(self) -> AsyncGenerator[str]:
        """Every key."""
        for folder in (self._staging, *self._shards()):
            for name in await self._run(_names, folder):
                if KEY.fullmatch(name):
                    yield name

    async def probe(self) -> None:
        """Write, sync and remove a small blob."""
        key = f"{PROBE}{secrets.token_hex(4)}"  # nodes in containers share process ids
        upload = _Upload(self._staging / key, self._path(key), self._require_room)
        await self._run(upload.try_out)

    def inspect(self) -> list[Violation]:
        """Links, foreign names, and wrong kinds, modes and owners, anywhere in the data directory."""
        owner = self._root.stat().st_uid
        found = list(self._inspect_folders(owner))
        for folder in (self._staging, *self._shards()):
            for path, status in inspection.entries(folder):
                kind = inspection.FILE if KEY.fullmatch(path.name) else inspection.FOREIGN
                found += inspection.judge(path, status, kind, owner)
        return found

    def _inspect_folders(self, owner: int) -> Iterator[Violation]:
        """Findings about all but what is in the folders of blobs."""
        names = {**self._files, **dict.fromkeys(("staging", "blobs"), inspection.FOLDER)}
        yield from inspection.judge(self._root, self._root.stat(), inspection.FOLDER, owner)
        yield from inspection.look_into(self._root, owner, names)
        yield from inspection.look_into(self._blobs, owner, dict.fromkeys(SHARDS, inspection.FOLDER))
        for folder in self._folders:
            if not os.path.lexists(folder):
                yield inspection.finding(folder, "the folder is missing", "restore it from the backup")

    # --- details ------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):  # a poisoned row must not become a path
            raise StorageFailed("not a blob key")
        return self._blobs / key[:2] / key

    def _shards(self) -> Iterator[Path]:
        """The folders of blobs; none where they would be reached by a link."""
        return iter(()) if self._blobs.is_symlink() else (self._blobs / shard for shard in SHARDS)

    def _require_unlinked(self, *folders: Path) -> None:
        """A start sees to it that no folder is a link; should one have become one since, nothing is removed there."""
        for folder in (self._blobs, *folders):
            if folder.is_symlink():
                raise StorageFailed(f"{folder} is a symbolic link")

    def _require_room(self, size: int) -> None:
        disk = os.statvfs(self._root)
        if disk.f_bavail * disk.f_frsize < size + self._reserve_bytes:
            raise StorageFull("the disk is full but for the database's reserve")

    def _run(self, function: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(function, *args))


def _names(folder: Path) -> list[str]:
    """What is in a folder that is there and not a link, but for other folders."""
    with translate_disk_errors("listing blobs"):
        return [path.name for path, status in inspection.entries(folder) if not stat.S_ISDIR(status.st_mode)]


class _Upload:
    """One blob on its way to the disk. Its methods block and run on worker threads, never two at once."""

    def __init__(self, staging: Path, target: Path, require_room: Callable[[int], None]) -> None:
        self._staging = staging
        self._target = target
        self._require_room = require_room
        self._fd: int | None = None
        self._size = 0
        self._here: Path | None = None
        """The name it has now; None while it has made none, as the name may be another upload's."""

    def store(self, block: bytes) -> int:
        """The whole blob in one go."""
        self.start(block)
        return self.finish()

    def try_out(self) -> None:
        """All steps, with nothing left behind: no row knows of a probe."""
        try:
            self.store(b"probe")
        finally:
            self.abort()

    def start(self, block: bytes) -> None:
        with translate_disk_errors("creating a blob"):
            self._require_room(len(block))
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._staging, flags, 0o600)
            self._here = self._staging
        self.write(block)

    def write(self, block: bytes) -> None:
        assert self._fd is not None
        with translate_disk_errors("writing a blob"):
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            before, self._size = self._size, self._size + len(block)
            if before // FLUSH_BYTES != self._size // FLUSH_BYTES:
                self._require_room(0)

    def finish(self) -> int:
        """Sync the file, give it its name, sync the name."""
        assert self._fd is not None
        with translate_disk_errors("syncing a blob"):
            os.fsync(self._fd)
            fd, self._fd = self._fd, None
            os.close(fd)
            os.rename(self._staging, self._target)
            self._here = self._target
            sync_directory(self._target.parent)
        return self._size

    def abort(self) -> None:
        """Leave nothing behind."""
        with translate_disk_errors("removing an unfinished blob"):
            if self._fd is not None:
                fd, self._fd = self._fd, None
                os.close(fd)
            if self._here is not None:
                with contextlib.suppress(FileNotFoundError):
                    self._here.unlink()


def _give_up(upload: _Upload, job: "Future[Any] | None") -> None:
    # A cancelled caller may have left a write running.
    if job is not None:
        wait([job])
    upload.abort()
