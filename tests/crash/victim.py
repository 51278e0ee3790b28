"""The real `filestead` command in a process that dies, or whose disk fails, at one chosen step.

VICTIM_PLAN names a file that holds `act|step|nth` and is in force while it exists: `act` is `kill` or an errno's name,
`nth` counts the step from when the file came, `*` is every time. VICTIM_TRACE names a file that gets a line
`step|detail` for each step: system calls below the data directory, transactions, calls of the stores, answers.
VICTIM_JOBS=1 adds the claims of jobs, for which a server asks all the time.
"""

import collections
import contextlib
import contextvars
import errno
import functools
import os
import signal
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from filestead.app import web
from filestead.blobs.local.store import LocalBlobs
from filestead.cli.main import main as filestead
from filestead.database.repositories.batches.repository import SqlBatchRepository
from filestead.database.repositories.batches.runs import SqlBatchRunRepository
from filestead.database.repositories.files.inline import SqlInlineBlobs
from filestead.database.repositories.files.repository import SqlFileRepository
from filestead.database.repositories.jobs import SqlJobRepository
from filestead.database.repositories.keys import SqlKeyRepository
from filestead.database.repositories.uploads.repository import SqlUploadRepository
from filestead.database.repositories.vector_stores.index import SqlIndexRepository
from filestead.database.repositories.vector_stores.repository import SqlVectorStoreRepository

DATA = Path(os.environ["FILESTEAD_DATA_DIR"]).absolute()
PLAN = os.environ.get("VICTIM_PLAN", "")
TRACE = os.environ.get("VICTIM_TRACE", "")

ON_PATHS = ("mkdir", "chmod", "rename", "replace", "link", "symlink", "unlink", "remove", "rmdir", "truncate")
ON_FILES = ("write", "writev", "pwrite", "pread", "fsync", "fdatasync", "ftruncate", "posix_fallocate", "close")
STORES: dict[type, tuple[str, tuple[str, ...]]] = {
    LocalBlobs: ("blobs", ("put", "delete")),
    SqlFileRepository: (
        "records",
        (
            "begin_upload",
            "reserve",
            "publish",
            "create_inline",
            "count_upload",
            "abandon",
            "delete",
            "observe_clock",
            "claim_garbage",
            "delete_blob_rows",
            "release_leases",
        ),
    ),
    SqlInlineBlobs: ("inline", ("write", "delete")),
    SqlUploadRepository: (
        "uploads",
        ("create", "begin_part", "accept_part", "complete", "cancel", "record_check"),
    ),
    SqlKeyRepository: ("keys", ("create",)),
    SqlVectorStoreRepository: ("stores", ("create", "delete", "attach", "detach", "cancel_batch")),
    SqlIndexRepository: ("index", ("add_chunks", "complete_file", "fail_file", "replace_segments", "delete_detached")),
    SqlBatchRepository: ("batches", ("create", "cancel")),
    SqlBatchRunRepository: ("runs", ("start", "append", "start_finalizing", "begin_output", "finish", "fail")),
    SqlJobRepository: ("jobs", ("release_leases", *(("claim",) if os.environ.get("VICTIM_JOBS") else ()))),
}
ANSWERS = {"http.response.start": "answer head", "http.response.body": "answer body"}

os_open, os_read, os_write, os_close = os.open, os.read, os.write, os.close

_lock = threading.RLock()
_seen: collections.Counter[str] = collections.Counter()
_roles: dict[int, str] = {}
_calls: list[str] = []
"""Calls of the stores that run now."""
_call: contextvars.ContextVar[str] = contextvars.ContextVar("call")
"""The call of a store that an operation of the database belongs to."""


# --- the plan -------------------------------------------------------------------------------------------------------


def _read_plan() -> list[str] | None:
    try:
        fd = os_open(PLAN, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os_read(fd, 1000).decode().strip().split("|")
    finally:
        os_close(fd)


def _note(step: str, detail: object) -> None:
    if TRACE:
        fd = os_open(TRACE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os_write(fd, f"{step}|{detail}\n".encode())
        os_close(fd)


def reach(step: str, detail: object = "") -> None:
    """Note a step; die or raise if the plan says so."""
    with _lock:
        _note(step, detail)
        plan = _read_plan()
        if plan is None:
            _seen.clear()
            return
        act, where, nth = plan
        _seen[step] += step == where
        if step != where or nth not in ("*", str(_seen[step])):
            return
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    number = getattr(errno, act)
    if "commit" in step:
        failure = sqlite3.OperationalError("as the plan says")
        failure.sqlite_errorcode = sqlite3.SQLITE_FULL if act == "ENOSPC" else sqlite3.SQLITE_IOERR
        raise failure
    raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def around(name: str, detail: object = "") -> Iterator[None]:
    """A step before something is done, and one after it, whether it worked or not."""
    reach(f"before {name}", detail)
    try:
        yield
    finally:
        reach(f"after {name}", detail)


# --- system calls ---------------------------------------------------------------------------------------------------


def role_of(path: Any) -> str | None:
    """What a path is for; None outside the data directory."""
    try:
        parts = Path(path).absolute().relative_to(DATA).parts
    except (TypeError, ValueError):
        return None
    match parts:
        case ():
            return "data folder"
        case ("staging" | "blobs",):
            return f"{parts[0]} folder"
        case ("staging", _):
            return "staging"
        case ("blobs", _):
            return "shard"
        case ("blobs", _, _):
            return "blob"
        case _:
            return "/".join(parts)


def _watch_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
    role = role_of(path)
    if role is None:
        return os_open(path, flags, *args, **kwargs)
    with around(f"open {role}"):
        fd = os_open(path, flags, *args, **kwargs)
        _roles[fd] = role
    return fd


def _watch_path(name: str) -> None:
    call = getattr(os, name)

    @functools.wraps(call)
    def watched(path: Any, *args: Any, **kwargs: Any) -> Any:
        role = role_of(path)
        if role is None:
            return call(path, *args, **kwargs)
        with around(f"{name} {role}"):
            return call(path, *args, **kwargs)

    setattr(os, name, watched)


def _watch_file(name: str) -> None:
    call = getattr(os, name)

    @functools.wraps(call)
    def watched(fd: int, *args: Any, **kwargs: Any) -> Any:
        # A closed number may be another thread's file at once.
        role = _roles.pop(fd, None) if name == "close" else _roles.get(fd)
        if role is None:
            return call(fd, *args, **kwargs)
        with around(f"{name} {role}", fd):
            return call(fd, *args, **kwargs)

    setattr(os, name, watched)


# --- transactions ---------------------------------------------------------------------------------------------------


class WatchedCursor(sqlite3.Cursor):
    """A cursor whose statements are steps."""

    connection: "WatchedConnection"

    def execute(self, sql: str, *args: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for name in self._steps(sql):
                stack.enter_context(around(name))
            return super().execute(sql, *args)

    def _steps(self, sql: str) -> list[str]:
        verb = sql.split(None, 1)[0].upper()
        calls = self.connection.calls
        if verb in ("BEGIN", "ROLLBACK"):
            calls.clear()
        elif verb == "COMMIT":
            # A transaction is for several calls that came at the same time; others are not watched.
            found = [f"commit of {call}" for call in sorted(calls)]
            calls.clear()
            return found
        elif (call := _call.get(None)) is not None:
            calls.add(call)
        elif not _calls and verb in ("CREATE", "INSERT", "UPDATE", "DELETE"):
            return [" ".join(sql.split("(")[0].split()[:3])]
        return []


class WatchedConnection(sqlite3.Connection):
    """A connection whose statements and commits are steps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls: set[str] = set()
        """What the transaction is for."""

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or WatchedCursor)

    def execute(self, sql: str, *args: Any) -> Any:
        return self.cursor().execute(sql, *args)

    def commit(self) -> None:
        with around("commit of start"):
            super().commit()


# --- stores and answers ---------------------------------------------------------------------------------------------


def _watch_method(owner: type, name: str, label: str) -> None:
    method: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @functools.wraps(method)
    async def watched(*args: Any, **kwargs: Any) -> Any:
        reach(f"before {label}")
        _calls.append(label)
        outer = _call.set(label)
        try:
            return await method(*args, **kwargs)
        finally:
            _call.reset(outer)
            _calls.remove(label)
            reach(f"after {label}")

    setattr(owner, name, watched)


def _watch_answers(build: Callable[..., Any]) -> Callable[..., Any]:
    def watched_build(*args: Any) -> Any:
        inner = build(*args)

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def watched_send(message: Any) -> None:
                with around(ANSWERS[message["type"]], message.get("status", "")):
                    await send(message)

            changes = scope["type"] == "http" and scope["method"] in ("POST", "DELETE")
            await inner(scope, receive, watched_send if changes else send)

        return watched

    return watched_build


def main() -> None:
    """Watch everything, then be `filestead`."""
    os.open = _watch_open
    for name in ON_PATHS:
        _watch_path(name)
    for name in ON_FILES:
        _watch_file(name)
    connect = sqlite3.connect
    sqlite3.connect = functools.partial(connect, factory=WatchedConnection)  # type: ignore[assignment]
    for owner, (store, methods) in STORES.items():
        for name in methods:
            _watch_method(owner, name, f"{store}.{name}")
    web.build = _watch_answers(web.build)
    filestead()
