"""Lists of a store that need not be believed: bounded in pages and time, and never the same page again."""

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

PAGE = 1_000
PAGES = 100_000
SECONDS = 3_600.0
"""That the store may take for all pages of a list."""

WHAT = "listing blobs"

Calling = Callable[[], AbstractAsyncContextManager[None]]


async def pages(
    store: S3Store, prefix: str, calling: Calling, *, size: int = PAGE, seconds: float = SECONDS
) -> "AsyncGenerator[list[ObjectMeta]]":
    """What is below a prefix; `calling` goes around the wait for each page, and bounds and translates it."""
    stream = obstore.list(store, prefix, chunk_size=size)
    last = ""
    for _ in range(PAGES):
        asked = time.monotonic()
        async with calling():
            page = list(await anext(stream, []))
        if not page:
            return
        seconds -= time.monotonic() - asked  # what the caller does between two pages is not the store's fault
        if page[-1]["path"] == last or seconds < 0:
            break
        last = page[-1]["path"]
        yield page
    raise StorageFailed(f"{WHAT}: the object store's list does not end")


def blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine, for those that must block; also within a running event loop."""
    with ThreadPoolExecutor(1, thread_name_prefix="filestead-s3-blocking") as thread:
        return thread.submit(lambda: asyncio.run(make())).result()
