"""Listing objects of a store that is not trusted: bounded in pages and time, and stopped when a page repeats."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.store import S3Store

from filestead.domain.errors import StorageFailed

if TYPE_CHECKING:
    from obstore import ObjectMeta

T = TypeVar("T")

OPERATION = "listing blobs"
PAGE_SIZE = 1_000
PAGE_SECONDS = 15.0
MAX_PAGES = 100_000
MAX_SECONDS = 3_600.0
"""That the store may take for all pages of a list."""

Request = Callable[[], AbstractAsyncContextManager[None]]


async def list_pages(
    client: S3Store, prefix: str, request: Request, *, size: int = PAGE_SIZE, seconds: float = MAX_SECONDS
) -> "AsyncGenerator[list[ObjectMeta]]":
    """The objects below a prefix. `request` is entered around each page, to limit its time and translate errors."""
    stream = obstore.list(client, prefix, chunk_size=size)
    last = ""
    for _ in range(MAX_PAGES):
        started = time.monotonic()
        async with request():
            page = list(await anext(stream, []))
        if not page:
            return
        seconds -= time.monotonic() - started  # the time of the caller between two pages does not count
        if page[-1]["path"] == last or seconds < 0:
            break
        last = page[-1]["path"]
        yield page
    raise StorageFailed(f"{OPERATION}: the object store's list does not end")


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and block until it returns, even within a running event loop."""
    with ThreadPoolExecutor(1, thread_name_prefix="filestead-s3-blocking") as thread:
        return thread.submit(asyncio.run, coroutine).result()
