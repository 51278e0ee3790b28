"""Files in the browser: list, filter, pages, selection, deletion, detail and previews."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from playwright import async_api

from tests.console.conftest import NAMES, Open, keep_toasts, settle
from tests.support.browser import Page
from tests.support.servers import KEY, Server

ROWS = "[...document.querySelectorAll('tbody tr')]"


def names(page: Page) -> list[str]:
    found: list[str] = page.run(f"{ROWS}.map((row) => row.querySelector('a').textContent)")
    return found


@pytest.fixture(scope="module")
def many(server: Server, named: dict[str, Any]) -> list[str]:
    """More files than a page has, and newer than those with names: the list shows them first."""
    created = [f"report-{number:02}.txt" for number in range(60)]
    for number, name in enumerate(created):
        server.upload(b"x" * (number + 1), name=name, purpose="evals" if name.endswith("jsonl") else "user_data")
    return created


def test_hostile_names_are_shown_as_text(opened: Open, named: dict[str, Any], many: list[str]) -> None:
    page = opened()
    page.click("button", "Next")
    page.wait_for(".pager", "Page 2")
    settle(page)
    shown = names(page)
    assert set(NAMES.values()) <= set(shown)
    assert page.count("main img, main script") == 0
    # The longest name does not widen the page, also on a telephone.
    for width in (1280, 360):
        page.resize(width, 800)
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run("getComputedStyle(document.querySelector('td .name')).direction") == "ltr"
    arabic = json.dumps(NAMES["arabic"])
    assert (
        page.run(
            f"getComputedStyle({ROWS}.map((row) => row.querySelector('.name')).find((name) => name.textContent === {arabic})).direction"
        )
        == "rtl"
    )


def test_pages_filter_and_order(opened: Open, many: list[str], named: dict[str, Any]) -> None:
    page = opened()
    first = names(page)
    assert len(first) == 50
    page.click("button", "Next")
    page.wait_for(".pager", "Page 2")
    settle(page)
    assert not set(first) & set(names(page))
    page.click("button", "Previous")
    page.wait_for(".pager", "Page 1")
    settle(page)
    assert names(page) == first
    page.click("th button", "Created")
    page.wait_for("th[aria-sort=ascending]")
    settle(page)
    assert names(page) != first
    page.choose(".tools select", "vision")
    page.wait_for_count("tbody tr", 1)
    assert names(page) == ["picture.png"]
    page.choose(".tools select", "fine-tune")
    page.wait_for(".empty", "no files with this purpose")


def test_a_column_sorts_the_page_and_says_so(opened: Open, many: list[str]) -> None:
    page = opened()
    page.click("th button", "Size")
    page.wait_for("th[aria-sort=descending]", "Size")
    sizes = page.run(f"{ROWS}.map((row) => row.cells[3].textContent)")
    assert sizes != sorted(sizes)  # by number, not as text
    page.click("th button", "Name")
    page.wait_for("th[aria-sort=ascending]", "Name")
    shown = names(page)
    assert shown == sorted(shown, key=str.casefold)
    assert page.shows("p", "Sorted within this page")


def test_back_leads_to_the_same_page_of_the_list(opened: Open, many: list[str], named: dict[str, Any]) -> None:
    page = opened()
    page.click("button", "Next")
    page.wait_for(".pager", "Page 2")
    settle(page)
    page.click("a", "faulty.jsonl")
    page.wait_for("h1", "faulty.jsonl")
    page.run("history.back()")
    page.wait_for(".pager", "Page 2")


def test_lines_are_laid_out_and_faults_marked(opened: Open, named: dict[str, Any]) -> None:
    page = opened(f"files/{named['faulty']['id']}")
    page.wait_for("ol.lines")
    assert page.count(".lines li") == 50
    faults = page.run(
        "[...document.querySelectorAll('.lines li.faulty')].map((line) => [line.value, line.querySelector('.fault').textContent])"
    )
    assert [number for number, _ in faults] == [2, 4, 5]
    assert faults[0][1].startswith("Not JSON: ")
    assert faults[1][1] == "The custom_id is that of line 1"
    assert faults[2][1] == "Missing: url, body"
    assert page.count(".lines b") == 0
    assert "⟨202E⟩" in page.text(".lines")  # a character that reverses text is shown, not obeyed
    assert named["faulty"]["status_details"] in page.text("main")


@pytest.mark.promise("S-12")
def test_previews_can_do_nothing(opened: Open, named: dict[str, Any]) -> None:
    page = opened()
    for kind in ("markup", "svg", "picture"):
        page.run(f"location.hash = '#/files/{named[kind]['id']}'")
        page.wait_for("iframe.preview")
        page.wait_for("h1", named[kind]["filename"])
        assert page.attribute("iframe", "sandbox") == ""
    time.sleep(0.3)
    assert page.run("window.hacked") is None
    for kind, text in (("empty", "The file is empty."), ("binary", "This is not text.")):
        page.run(f"location.hash = '#/files/{named[kind]['id']}'")
        page.wait_for("p", text)


def test_commands_have_the_id_and_not_the_key(opened: Open, named: dict[str, Any]) -> None:
    file = named["markup"]
    page = opened(f"files/{file['id']}")
    page.wait_for("#snippet")
    page.use(lambda tab: tab.focus("#tab-curl"))
    for name, expected in (
        ("Python", "client.files.content"),
        ("Node", "await client.files.content"),
        ("CLI", "filestead files content"),
    ):
        page.press("ArrowRight")
        page.wait_for("[role=tab][aria-selected=true]", name)
        assert expected in page.text("#snippet")
        assert file["id"] in page.text("#snippet")
    assert "sk-" not in page.text("#snippet")


@pytest.fixture
def node_modules() -> Path:
    """Where `npm ci` has installed the official package."""
    folder = Path(__file__).parents[1] / "e2e/node/node_modules"
    if not (folder / "openai").is_dir():
        pytest.skip("the package openai is not installed: npm ci in tests/e2e/node")
    return folder


def test_the_commands_get_the_file_whatever_its_name(
    opened: Open, server: Server, tmp_path: Path, node_modules: Path
) -> None:
    name = 'it\'s "$(id)" `id` <b>.txt'
    file = server.upload(b"content", name=name)
    page = opened(f"files/{file['id']}")
    page.wait_for("iframe.preview")
    keep_toasts(page)
    page.use(lambda tab: tab.context.grant_permissions(["clipboard-read", "clipboard-write"]))
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shell, python, node = ["bash", "-c"], [sys.executable, "-c"], ["node", "--input-type=module", "--eval"]
    for tab, program in (("curl", shell), ("Python", python), ("Node", node), ("CLI", shell)):
        page.click("[role=tab]", tab)
        page.click(".panel-head button", "Copy")
        page.wait_for(".toast", "Copied")
        page.click(".toast button")
        page.wait_until_gone(".toast")
        command = page.run("navigator.clipboard.readText()")
        assert command == page.use(lambda tab: tab.text_content("#snippet"))
        folder = tmp_path / tab
        folder.mkdir()
        if tab == "Node":
            (tmp_path / "node_modules").symlink_to(node_modules)
        done = subprocess.run(
            [*program, command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert [path.name for path in folder.iterdir()] == [name], tab
        assert (folder / name).read_bytes() == b"content"


def test_a_download_is_the_file(opened: Open, server: Server, named: dict[str, Any]) -> None:
    page = opened(f"files/{named['picture']['id']}")

    async def download(tab: async_api.Page) -> tuple[str, bytes]:
        async with tab.expect_download() as begun:
            await tab.get_by_role("button", name="Download").click()
        downloaded = await begun.value
        return downloaded.suggested_filename, (await downloaded.path()).read_bytes()

    content = server.client.get(f"/files/{named['picture']['id']}/content").content
    assert page.use(download) == ("picture.png", content)


def test_one_confirmation_deletes_many_and_names_their_stores(
    opened: Open, server: Server, store: dict[str, Any]
) -> None:
    files = [server.upload(b"text", name=f"doomed-{number}.txt", purpose="assistants") for number in range(3)]
    server.client.post(f"/vector_stores/{store['id']}/files", json={"file_id": files[1]["id"]})
    page = opened()
    for file in files:
        page.click(f"input[aria-label='Select {file['filename']}']")
    page.wait_for(".selection-bar", "3 files selected")
    page.click(".selection-bar button", "Delete…")
    page.wait_for("dialog .goes-with li", "manuals: 1 file")
    page.press("Escape")
    page.wait_until_gone("dialog")
    assert server.client.get(f"/files/{files[0]['id']}").status_code == 200
    page.click(".selection-bar button", "Delete…")
    page.wait_for("dialog .goes-with li", "manuals")
    page.click("dialog button[type=submit]")
    page.wait_until_gone("dialog")
    page.wait_for(".toast", "3 files deleted")
    assert {server.client.get(f"/files/{file['id']}").status_code for file in files} == {404}
    page.wait_until_gone("a", "doomed-1.txt")


def test_a_file_that_is_gone(opened: Open) -> None:
    page = opened("files/file-gone", expected=("status of 404",))
    page.wait_for("[role=alert]", "No such File object: file-gone")
