"""Headless Chromium of the machine, driven by Playwright.

`Browser` is the process, `Page` a tab. A page records what a person would see in the developer tools: uncaught exceptions,
errors in the console (violations of the content security policy are among them), dialogs, and every host that it asked.

Playwright keeps an event loop in the thread that it was started in, where no other could run then. So it has a thread of
its own, and what calls it is marked `in_its_thread`.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from playwright import sync_api
from playwright.sync_api import expect

from tests.support.preflight import find

NAMES = ("chromium", "chromium-browser", "google-chrome")
MILLISECONDS = 20_000
FLAGS = ("--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")


def chromium() -> str | None:
    """The path of an installed Chromium; None if the machine has none."""
    return next((path for name in NAMES if (path := find(name))), None)


class HasThread(Protocol):
    """Something that is used in the thread of Playwright alone."""

    thread: ThreadPoolExecutor


Owner = TypeVar("Owner", bound=HasThread)
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def in_its_thread(
    method: Callable[Concatenate[Owner, Parameters], Result],
) -> Callable[Concatenate[Owner, Parameters], Result]:
    """Run a method in the thread of Playwright, and wait for it."""

    @functools.wraps(method)
    def call(self: Owner, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return self.thread.submit(method, self, *args, **kwargs).result()

    return call


class Page:
    """A tab. Selectors are those of Playwright; `text` narrows them to an element that contains it, in any case."""

    def __init__(self, thread: ThreadPoolExecutor, tab: sync_api.Page) -> None:
        self.thread = thread
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self.requests: list[str] = []
        self._tab = tab
        tab.on("pageerror", lambda error: self.problems.append(error.stack or error.message))
        tab.on("console", self._take_message)
        tab.on("dialog", self._take_dialog)
        tab.on("websocket", lambda socket: self._take_url(socket.url))
        tab.context.on("request", self._take_request)  # also those of windows that the page opens

    def _take_message(self, message: sync_api.ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.problems.append(f"{message.type}: {message.text} {message.location['url']}")

    def _take_dialog(self, dialog: sync_api.Dialog) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
        else:
            self.problems.append(f"{dialog.type}: {dialog.message}")
            dialog.dismiss()

    def _take_request(self, request: sync_api.Request) -> None:
        self.requests.append(f"{request.method} {request.url}")
        self._take_url(request.url)

    def _take_url(self, url: str) -> None:
        if urlsplit(url).scheme not in ("blob", "data", "about"):
            self.hosts.add(urlsplit(url).netloc)

    def _visible(self, selector: str, text: str | None) -> sync_api.Locator:
        return self._tab.locator(selector, has_text=text).filter(visible=True)

    @in_its_thread
    def use(self, work: Callable[[sync_api.Page], Result]) -> Result:
        """Do with the tab what this class has no method for."""
        return work(self._tab)

    @functools.cached_property
    def _session(self) -> sync_api.CDPSession:
        return self._tab.context.new_cdp_session(self._tab)

    @in_its_thread
    def command(self, method: str, **parameters: Any) -> None:
        """Send a command of the DevTools protocol, for what Playwright lacks."""
        self._session.send(method, parameters)

    @in_its_thread
    def go(self, url: str) -> None:
        """Load an address and wait for the document."""
        self._tab.goto(url)

    @in_its_thread
    def reload(self) -> None:
        """Load the same address again."""
        self._tab.reload()

    @in_its_thread
    def resize(self, width: int, height: int) -> None:
        """Change the size of the screen."""
        self._tab.set_viewport_size({"width": width, "height": height})

    @in_its_thread
    def show_dark(self, dark: bool) -> None:
        """What the system prefers."""
        self._tab.emulate_media(color_scheme="dark" if dark else "light")

    @in_its_thread
    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript; a promise is awaited. Works beside the page's policy."""
        return self._tab.evaluate(expression)

    @in_its_thread
    def wait(self, expression: str) -> Any:
        """Wait until an expression is true; returns its value."""
        # A function is evaluated once, and only that first time beside the page's policy.
        return self._tab.wait_for_function(f"() => {expression}", polling=50).json_value()

    @in_its_thread
    def wait_for(self, selector: str, text: str | None = None, *, seconds: float = MILLISECONDS / 1000) -> None:
        """Wait for a visible element."""
        self._visible(selector, text).first.wait_for(timeout=1000 * seconds)

    @in_its_thread
    def wait_until_gone(self, selector: str, text: str | None = None) -> None:
        """Wait until there is no such element."""
        expect(self._visible(selector, text)).to_have_count(0, timeout=MILLISECONDS)

    @in_its_thread
    def wait_for_count(self, selector: str, count: int) -> None:
        """Wait until there are so many elements, visible or not."""
        expect(self._tab.locator(selector)).to_have_count(count, timeout=MILLISECONDS)

    @in_its_thread
    def wait_for_value(self, selector: str, value: str) -> None:
        """Wait until a field has this value."""
        expect(self._tab.locator(selector).first).to_have_value(value, timeout=MILLISECONDS)

    @in_its_thread
    def shows(self, selector: str, text: str | None = None) -> bool:
        """Whether there is such a visible element now."""
        return self._visible(selector, text).count() > 0

    @in_its_thread
    def count(self, selector: str) -> int:
        """How many elements there are now, visible or not."""
        return self._tab.locator(selector).count()

    @in_its_thread
    def text(self, selector: str) -> str:
        """The visible text of the first element."""
        return self._tab.locator(selector).first.inner_text()

    @in_its_thread
    def attribute(self, selector: str, name: str) -> str | None:
        """An attribute of the first element."""
        return self._tab.locator(selector).first.get_attribute(name)

    @in_its_thread
    def html(self) -> str:
        """The document as it is now."""
        return self._tab.content()

    @in_its_thread
    def click(self, selector: str, text: str | None = None) -> None:
        """Click with the mouse, as soon as the element is there, enabled and not covered."""
        self._visible(selector, text).first.click()

    @in_its_thread
    def fill(self, selector: str, text: str) -> None:
        """Replace the text of a field."""
        self._visible(selector, None).first.fill(text)

    @in_its_thread
    def choose(self, selector: str, value: str) -> None:
        """Choose the option with this value."""
        self._visible(selector, None).first.select_option(value)

    @in_its_thread
    def press(self, key: str) -> None:
        """Press a key: `Tab`, `Enter`, `Escape`, `ArrowRight`, `Space`, `Shift+Tab`."""
        self._tab.keyboard.press(key)

    @in_its_thread
    def type(self, text: str) -> None:
        """Press the keys of a text."""
        self._tab.keyboard.type(text)

    @in_its_thread
    def set_files(self, selector: str, *paths: Path) -> None:
        """Choose files in a field for them."""
        self._tab.locator(selector).first.set_input_files(paths)

    @in_its_thread
    def screenshot(self, path: Path) -> None:
        """Save what is visible, without the mouse over it."""
        self._tab.mouse.move(0, 0)
        self._tab.screenshot(path=path)

    @in_its_thread
    def open_beside(self, url: str) -> "Page":
        """A new tab of the same profile."""
        page = Page(self.thread, self._tab.context.new_page())
        page._tab.goto(url)
        return page

    @in_its_thread
    def close(self) -> None:
        """Close the tab, and its profile if no other uses it."""
        self._tab.close()
        if not self._tab.context.pages:
            self._tab.context.close()


class Browser:
    """One process."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="playwright")

    @in_its_thread
    def open(
        self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False, language: str = "en-US"
    ) -> Page:
        """A new tab of a new profile: no storage is shared with other tabs."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale=language,
            timezone_id="UTC",
            user_agent="Filestead test",
        )
        context.set_default_timeout(MILLISECONDS)
        page = Page(self.thread, context.new_page())
        page._tab.goto(url)
        return page

    @in_its_thread
    def _start(self, program: str) -> None:
        self._playwright = sync_api.sync_playwright().start()
        self._chromium = self._playwright.chromium.launch(
            executable_path=program, args=FLAGS, chromium_sandbox=os.geteuid() != 0
        )

    @in_its_thread
    def _stop(self) -> None:
        self._chromium.close()
        self._playwright.stop()

    def __enter__(self) -> Self:
        program = chromium()
        assert program is not None, "there is no Chromium: apt-get install chromium"
        self._start(program)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        self.thread.shutdown()
