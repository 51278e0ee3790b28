"""Everything that the server asks of an object store, one function each."""

from collections.abc import AsyncIterator, Awaitable, Callable

from filestead.blobs.keys import new_key
from filestead.blobs.s3.signing import Credentials
from filestead.blobs.s3.store import S3Blobs

SECRETS = Credentials("AKIAOURS", "our-secret", "our-session-token")
FOREIGN = b"bytes of another origin"


async def chunked(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def put_small(blobs: S3Blobs) -> object:
    return await blobs.put(new_key(), chunked(b"x" * 1000))


async def put_large(blobs: S3Blobs) -> object:
    return await blobs.put(new_key(), chunked(b"x" * 5 * 1024 * 1024, b"y" * 5 * 1024 * 1024))


async def get(blobs: S3Blobs) -> object:
    return b"".join([block async for block in blobs.read(new_key())])


async def get_range(blobs: S3Blobs) -> object:
    return b"".join([block async for block in blobs.read(new_key(), 3, 9)])


async def head(blobs: S3Blobs) -> object:
    return await blobs.size(new_key())


async def delete(blobs: S3Blobs) -> object:
    return await blobs.delete(new_key())


async def names(blobs: S3Blobs) -> object:
    return [key async for key in blobs.stored_keys()]


async def strays(blobs: S3Blobs) -> object:
    return [key async for key in blobs.list_incomplete()]


async def inspect(blobs: S3Blobs) -> object:
    return blobs.inspect()


async def probe(blobs: S3Blobs) -> object:
    return await blobs.probe()


async def claim(blobs: S3Blobs) -> object:
    return blobs.open("inst-ours", fresh=False)


Call = Callable[[S3Blobs], Awaitable[object]]
CALLS: list[Call] = [put_small, put_large, get, get_range, head, delete, names, strays, inspect, probe, claim]


def by_name(value: object) -> str:
    return getattr(value, "__name__", str(value))
