"""A browser, servers with things to look at, and pages that must end without a single error in the console."""

import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright import async_api

from tests.support.browser import Browser, Page, chromium
from tests.support.servers import KEY, Server, run_command

NAMES = {
    "markup": "<img src=x onerror=alert(1)>.txt",
    "script": "javascript:alert(1).md",
    "arabic": "تقرير المبيعات السنوي 2026.txt",
    "long": "long-" + "x" * 246 + ".txt",
}
"""Names that others may have chosen; the long one has 255 bytes."""

LINE = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}


def batch_input(count: int) -> list[str]:
    """Lines of a batch file."""
    return [json.dumps({"custom_id": f"line-{number}", **LINE}) for number in range(count)]


def png(width: int, height: int) -> bytes:
    """A picture of one colour."""
    rows = (b"\0" + b"\x0b\x6e\x5f" * width) * height

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with Browser() as running:
        yield running


Open = Callable[..., Page]


def drop(page: Page, files: dict[str, str]) -> None:
    """Drop files with these texts on the page."""
    dropped = [
        async_api.FilePayload(name=name, mimeType="text/plain", buffer=text.encode()) for name, text in files.items()
    ]
    page.use(lambda tab: tab.locator(".drop-area").drop({"files": dropped}))


@pytest.fixture
def opened(browser: Browser, server: Server) -> Iterator[Open]:
    """Open the console in a tab and sign in; at the end no page may have had a problem or asked another host.

    `expected` are texts of problems that the test causes on purpose: a request that fails is an error in the console.
    """
    pages: list[tuple[Page, tuple[str, ...]]] = []

    def open_(
        view: str = "files",
        *,
        key: str | None = KEY,
        expected: tuple[str, ...] = (),
        at: str | None = None,
        **look: Any,
    ) -> Page:
        page = browser.open(f"{at or server.origin}/console#/{view}", **look)
        pages.append((page, expected))
        page.wait_for("h1")
        if key is not None:
            sign_in(page, key)
        return page

    yield open_
    for page, _ in pages:
        page.close()
    for page, expected in pages:
        unexpected = [problem for problem in page.problems if not any(text in problem for text in expected)]
        assert unexpected == []
        assert len(page.hosts) == 1, page.hosts


def sign_in(page: Page, key: str = KEY) -> None:
    page.fill("#key", key)
    page.press("Enter")
    page.wait_for(".views")
    settle(page)


def keep_toasts(page: Page) -> None:
    """Notices stay until they are dismissed: on a busy machine they would go before they are looked for."""
    page.run(
        "(() => { const wait = setTimeout; setTimeout = (work, ms, ...rest) => ms === 6000 || wait(work, ms, ...rest); })()"
    )


def settle(page: Page) -> None:
    """Wait until every list has loaded."""
    page.wait_for_count("[aria-busy=true]", 0)


@pytest.fixture(scope="module")
def named(server: Server) -> dict[str, Any]:
    """Files with the names above, and what a preview must cope with."""
    hostile = "<script>parent.hacked = true</script><img src=x onerror='parent.hacked = true'>javascript:alert(1)"
    files = {kind: server.upload(hostile.encode(), name=name) for kind, name in NAMES.items()}
    lines = batch_input(120)
    lines[1] = '{"custom_id": "line-1", "method"'
    lines[3] = json.dumps({"custom_id": "line-0", **LINE})
    lines[4] = json.dumps({"custom_id": "<b>bold</b>\u202e", "method": "POST"})
    files["faulty"] = server.upload("\n".join(lines).encode(), purpose="batch", name="faulty.jsonl")
    files["picture"] = server.upload(png(60, 40), purpose="vision", name="picture.png")
    files["svg"] = server.upload(b"<svg xmlns='http://www.w3.org/2000/svg' onload='parent.hacked=true'/>", name="a.svg")
    files["empty"] = server.upload(b"", name="empty.txt")
    files["binary"] = server.upload(bytes(range(256)), name="data.bin")
    return files


@pytest.fixture(scope="module")
def store(server: Server) -> dict[str, Any]:
    """A vector store with a file that is indexed and one that cannot be."""
    made = server.client.post("/vector_stores", json={"name": "manuals"}).json()
    contents = {
        "manual.md": b"The valve is replaced by turning the handle. <script>alert(1)</script>",
        "broken.pdf": b"%PDF-1.4 and no more",
    }
    for name, content in contents.items():
        file = server.upload(content, purpose="assistants", name=name)
        body = {"file_id": file["id"], "attributes": {"author": "ada", "year": 2026}}
        server.client.post(f"/vector_stores/{made['id']}/files", json=body)
    deadline = time.monotonic() + 60
    while server.client.get(f"/vector_stores/{made['id']}").json()["file_counts"]["in_progress"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found: dict[str, Any] = server.client.get(f"/vector_stores/{made['id']}").json()
    return found


@pytest.fixture(scope="module")
def admin(server: Server) -> str:
    """A key for the administration."""
    scopes = [word for scope in ("admin", "files:read", "files:write") for word in ("--scope", scope)]
    done = run_command(server.data_dir, "keys", "create", "--project", "default", *scopes, place=server.place)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which `npm ci` in tests/e2e/node installs."""
    path = Path(__file__).parents[1] / "e2e/node/node_modules/axe-core/axe.min.js"
    if not path.is_file():
        pytest.skip("axe-core is not installed: npm ci in tests/e2e/node")
    return path.read_text()


RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def judge(page: Page, axe: str, where: str) -> list[str]:
    """What axe finds wrong with the page as it is, and whether it is wider than the screen."""
    settle(page)
    options = json.dumps({"runOnly": RULES, "iframes": False})
    script = f"{axe};axe.run(document, {options}).then((found) => found.violations.map((each) => [each.id, each.nodes[0].html]))"
    found = [f"{where}: {name} {html}" for name, html in page.run(script)]
    if not page.run("document.documentElement.scrollWidth <= innerWidth"):
        found.append(f"{where}: wider than the screen")
    return found
