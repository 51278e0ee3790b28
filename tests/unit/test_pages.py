"""A page that is encoded in shares is the page that is encoded whole; places for long ones go round."""

import asyncio
from typing import Any

import pytest

from filestead import wire
from filestead.api.http.messages import PiecesResponse
from filestead.api.pages import FILES_PER_CHUNK, encode_page
from filestead.domain.fair_share import FairShare
from filestead.domain.files.model import File, Page

pytestmark = pytest.mark.anyio


def shape(file: File) -> wire.FileObject:
    return wire.FileObject(id=file.id, purpose=file.purpose, filename=file.filename, bytes=file.bytes, created_at=3)


@pytest.mark.parametrize(
    "count",
    [0, 1, FILES_PER_CHUNK - 1, FILES_PER_CHUNK, FILES_PER_CHUNK + 1, 2 * FILES_PER_CHUNK, 2 * FILES_PER_CHUNK + 1],
)
async def test_shares_make_the_page_that_is_encoded_whole(count: int) -> None:
    name = 'a"\n\u2028é[]{}, "data": [],\\'
    files = [File(f"file-{n}", name, "batch", n, 3, None, "processed", None, "0" * 64, "k") for n in range(count)]
    data = [shape(file) for file in files]
    ids = (files[0].id, files[-1].id) if files else (None, None)
    whole = wire.encode(wire.ListFilesResponse(data=data, has_more=True, first_id=ids[0], last_id=ids[1]))
    pieces = await encode_page(Page(files, has_more=True), shape)
    assert b"".join(pieces) == whole
    assert len(pieces) == max(1, -(-count // FILES_PER_CHUNK))


async def test_pieces_are_sent_one_after_the_other_and_others_run_between() -> None:
    sent: list[Any] = []
    turns = 0

    async def send(message: Any) -> None:
        sent.append((message, turns))

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    await PiecesResponse([b"one", b"two", b"three"], "application/json")({}, Any, send)
    running.cancel()
    (start, _), *bodies = sent
    assert dict(start["headers"]) == {b"content-length": b"11", b"content-type": b"application/json"}
    assert [(message["body"], message.get("more_body", False)) for message, _ in bodies] == [
        *((b"one", True), (b"two", True), (b"three", False))
    ]
    assert len({before for _, before in bodies}) == 3


async def test_projects_take_turns() -> None:
    share, order = FairShare(1), []

    async def work(project: str) -> None:
        async with share.slot(project):
            order.append(project)
            await asyncio.sleep(0)

    await asyncio.gather(*map(work, ["a"] * 5 + ["b"] * 2 + ["c"]))
    assert order == ["a", "a", "b", "c", "a", "b", "a", "a"]


async def test_no_place_is_lost_to_those_who_leave_the_queue() -> None:
    share, held = FairShare(2), 0

    async def work(project: str) -> None:
        nonlocal held
        async with share.slot(project):
            held += 1
            assert held <= 2
            await asyncio.sleep(0.001)
            held -= 1

    tasks = [asyncio.create_task(work(project)) for project in "abab" * 10]
    for number in range(len(tasks)):
        await asyncio.sleep(0)
        if number % 3:
            tasks[-1 - number].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(30), share.slot("x"), share.slot("y"):
        pass
