"""The console with the keyboard alone: every control of every view, in order, with a visible focus; dialogs; whole tasks."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.console.conftest import Open, batch_input, keep_toasts, settle
from tests.support.browser import Page
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("pages have the same controls, whatever stores their files")

CONTROLS = (
    "[...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]"
    ".filter((each) => !each.disabled && each.tabIndex >= 0 && each.checkVisibility())"
)
"""What Tab should reach, in the order of the document."""

FOCUS = """(() => {
  const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
  return {
    name: (element.getAttribute('aria-label') ?? element.textContent.trim()).slice(0, 60) || element.outerHTML.slice(0, 90),
    position: __controls.indexOf(element),
    outlined: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    above: [...document.elementsFromPoint(box.x + Math.min(box.width, 40) / 2, Math.min(box.y + box.height / 2, innerHeight - 1))]
      .some((each) => element.contains(each) || each.contains(element)),
  };
})()"""
MAX_STOPS = 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes batches, whose model server does not respond."""
    folder = tmp_path_factory.mktemp("keyboard") / "data"
    with Server(folder, upstream_url="http://127.0.0.1:9/v1", uploads_per_minute=0) as running:
        yield running


@pytest.fixture(scope="module")
def batch(server: Server) -> str:
    """A batch that runs and waits for its model server."""
    file = server.upload("\n".join(batch_input(3)).encode(), purpose="batch")
    form = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made: dict[str, Any] = server.client.post("/batches", json=form).json()
    deadline = time.monotonic() + 60
    while server.client.get(f"/batches/{made['id']}").json()["status"] != "in_progress":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return str(made["id"])


def tab_to(page: Page, selector: str, text: str = "") -> None:
    """Press Tab until an element has the focus."""
    wanted = f"(({CONTROLS}).find((each) => each.matches({json.dumps(selector)}) && each.textContent.includes({json.dumps(text)})))"
    page.wait(f"Boolean({wanted})")
    for _ in range(MAX_STOPS):
        page.press("Tab")
        if page.run(f"document.activeElement === {wanted}"):
            return
    raise AssertionError(f"Tab does not reach {selector} {text}")


def focused(page: Page) -> Any:
    """The element that has the focus, once one has: the way over the frame of a preview leads through another process."""
    deadline = time.monotonic() + 20
    while (focus := page.run(FOCUS))["position"] < 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    return focus


def faults_of(page: Page, where: str) -> list[str]:
    """Press Tab from the top of the page until every control had the focus, then once back."""
    settle(page)
    page.run("document.activeElement.blur()")
    page.run("scrollTo(0, 0)")
    count = page.run(f"(window.__controls = {CONTROLS}).length")
    assert count >= 9, "the bar has so many"
    page.use(lambda tab: tab.focus(".skip"))
    found = []
    for position in range(1, count):
        page.press("Tab")
        focus = focused(page)
        if focus["position"] != position:
            expected = page.run(f"__controls[{position}].outerHTML.slice(0, 90)")
            return [*found, f"{where}: Tab leads to {focus['name']} instead of {expected}"]
        found += [
            f"{where}: {focus['name']} is not {what}" for what in ("outlined", "seen", "above") if not focus[what]
        ]
    page.press("Shift+Tab")
    if focused(page)["position"] != count - 2:
        found.append(f"{where}: Shift and Tab do not lead back")
    return found


@pytest.mark.parametrize("look", [{}, {"width": 360, "height": 740}, {"language": "ar-EG"}], ids=str)
def test_tab_reaches_every_control_in_order_with_a_visible_focus(
    opened: Open, admin: str, named: dict[str, Any], store: dict[str, Any], batch: str, look: dict[str, Any]
) -> None:
    page = opened(key=admin, **look)
    found: list[str] = []
    for view, element in (
        ("files", "tbody a"),
        (f"files/{named['faulty']['id']}", "ol.lines"),
        (f"files/{named['picture']['id']}", "iframe"),
        ("vector-stores", "tbody a"),
        (f"vector-stores/{store['id']}", "tbody a"),
        ("batches", "tbody a"),
        (f"batches/{batch}", ".facts"),
        ("usage", ".bars"),
        ("admin", ".bars"),
    ):
        page.run(f"location.hash = '#/{view}'")
        page.wait_for(element)
        found += faults_of(page, view)
    assert found == []


@pytest.mark.parametrize(
    ("view", "selector", "text"),
    [
        ("files", ".tools button", "Upload files"),
        ("vector-stores", ".tools button", "New vector store"),
        ("vector-stores", "tbody button", "Delete…"),
        ("batches", ".tools button", "New batch"),
        ("admin", ".tools button", "New project"),
        ("admin", ".project button", "New key"),
        ("admin", ".project button", "Revoke…"),
        ("admin", ".accounts button", "New service account"),
        ("admin", ".accounts button", "Delete…"),
    ],
)
def test_a_dialog_keeps_the_focus_and_gives_it_back(
    opened: Open, admin: str, store: dict[str, Any], view: str, selector: str, text: str
) -> None:
    page = opened(view, key=admin)
    tab_to(page, selector, text)
    page.run("window.__opener = document.activeElement")
    page.press("Enter")
    page.wait_for("dialog h2")
    within = page.run(f"(window.__left = new Set(({CONTROLS}).filter((each) => each.closest('dialog')))).size")
    for _ in range(2 * within + 2):
        outside, unmarked = page.run(
            "(() => { const element = document.activeElement, inside = element.closest('dialog');"
            " __left.delete(element); const html = element.outerHTML.slice(0, 90);"
            " return [!inside && element !== document.body && html,"
            " inside && getComputedStyle(element).outlineStyle === 'none' && html]; })()"
        )
        assert not outside, "the focus stays in the dialog"
        assert not unmarked, "the focus is visible"
        page.press("Tab")
    assert page.run("[...__left].map((each) => each.outerHTML.slice(0, 90))") == []
    page.press("Escape")
    page.wait_until_gone("dialog")
    assert page.run("document.activeElement === window.__opener"), "the focus returns"


def test_sign_in_and_past_the_bar_without_a_mouse(opened: Open, admin: str, named: dict[str, Any]) -> None:
    page = opened(key=None)
    assert page.shows("#key:focus"), "the field for the key has the focus"
    page.type(admin)
    page.press("Enter")
    page.wait_for("tbody a")

    page.reload()
    page.wait_for("tbody a")
    page.press("Tab")
    assert page.text(":focus") == "Skip to content"
    page.press("Enter")
    assert page.shows("#main:focus")
    page.press("Tab")
    assert page.shows("main :focus"), "past the bar"


def test_a_store_is_made_and_deleted_without_a_mouse(opened: Open, server: Server) -> None:
    page = opened()
    tab_to(page, ".views a", "Vector stores")
    page.press("Enter")
    page.wait_for("h1", "Vector stores")
    page.wait_for("#main:focus")
    tab_to(page, ".tools button", "New vector store")
    page.press("Enter")
    page.wait_for("dialog")
    tab_to(page, "dialog input[name=name]")
    page.type("by keyboard")
    page.press("Enter")
    page.wait_for("h1", "by keyboard")
    assert server.client.get("/vector_stores").json()["data"][0]["name"] == "by keyboard"
    tab_to(page, "main .danger")
    page.press("Enter")
    page.wait_for("dialog")
    tab_to(page, "dialog button[type=submit]")
    page.press("Enter")
    page.wait_for("h1", "Vector stores")
    page.wait_until_gone("tbody a", "by keyboard")


def test_a_file_is_chosen_and_deleted_without_a_mouse(opened: Open, server: Server, named: dict[str, Any]) -> None:
    page = opened()
    file = server.upload(b"x", name="by keyboard.txt")
    tab_to(page, ".tools button", "Refresh")
    page.press("Enter")
    page.wait_for("tbody a", "by keyboard.txt")
    tab_to(page, "tbody input[aria-label='Select by keyboard.txt']")
    page.press("Space")
    page.wait_for(".selection-bar", "1 file selected")
    tab_to(page, ".selection-bar button", "Delete…")
    page.press("Enter")
    page.wait_for("dialog")
    tab_to(page, "dialog button[type=submit]")
    keep_toasts(page)
    page.press("Enter")
    page.wait_for(".toast", "1 file deleted")
    assert server.client.get(f"/files/{file['id']}").status_code == 404
    tab_to(page, ".toast button")
    page.press("Enter")
    page.wait_until_gone(".toast")
