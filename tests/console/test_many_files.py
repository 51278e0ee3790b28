"""The list of files in the browser is as quick with a million files as with a few thousand."""

from collections.abc import Iterator
from statistics import median

import pytest

from tests.console.conftest import Open
from tests.support import many_files
from tests.support.browser import Page
from tests.support.servers import Server

MAX_FIRST_MS = 1_000
"""From the navigation until the first page of the list is there."""
MAX_NEXT_MS = 500
"""From the click until the next page is there."""
ROWS = 50
SHOWN = (
    "!document.querySelector('[aria-busy=true]') && document.querySelectorAll('tbody tr').length === %d"
    " && document.querySelector('main')?.innerText.includes('Page %d') && performance.now() - %s"
)


@pytest.fixture(params=[10_000, pytest.param(1_000_000, marks=[pytest.mark.torture, pytest.mark.timeout(600)])])
def count(request: pytest.FixtureRequest, server: Server) -> Iterator[int]:
    """So many files are in the project of the key; afterwards none."""
    place = server.place
    ((project,),) = place.sql("SELECT DISTINCT project_id FROM keys")
    for statement in many_files.statements(project, request.param):
        place.sql(statement)
    yield request.param
    place.sql("DELETE FROM files")
    place.sql("DELETE FROM blobs")


def first_id(page: Page) -> int:
    return int(page.run("document.querySelector('tbody a').hash.split('file-')[1]"))


@pytest.mark.timing
def test_pages_of_the_list(opened: Open, server: Server, count: int) -> None:
    page = opened()
    first = []
    for _ in range(5):
        page.reload()
        first.append(page.wait(SHOWN % (ROWS, 1, "0")))
        assert first_id(page) == count - 1
    following = []
    for number in range(2, 7):
        page.run("[...document.querySelectorAll('.pager button')].at(-1).focus()")
        page.run("window.__began = performance.now(); document.activeElement.click()")
        following.append(page.wait(SHOWN % (ROWS, number, "__began")))
        assert first_id(page) == count - 1 - ROWS * (number - 1)
    print(f"{count:,} files: first page {median(first):.0f} ms, next page {median(following):.0f} ms")
    assert median(first) < MAX_FIRST_MS, first
    assert median(following) < MAX_NEXT_MS, following
