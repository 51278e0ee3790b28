"""Headless Chromium of the machine, driven by Playwright.

`Browser` is the process, `Page` a tab. A page records what a person would see in the developer tools: uncaught exceptions,
errors in the console (violations of the content security policy are among them), dialogs, and every host that it asked.

Playwright runs on an event loop in a thread of its own, because tests run event loops in theirs.
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from anyio.from_thread import BlockingPortal, start_blocking_portal
from playwright import async_api
from playwright.async_api import async_playwright, expect

from tests.support.preflight import find

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 20.0
MARGIN = 10.0
"""Seconds after which a call of Playwright is given up that does not end by itself, such as a promise in the page."""
FLAGS = ("--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")

Result = TypeVar("Result")


def chromium() -> str | None:
    """The path of an installed Chromium; None if the machine has none."""
    return next((path for name in NAMES if (path := find(name))), None)


def finish(portal: BlockingPortal, work: Callable[[], Awaitable[Result]], *, seconds: float = SECONDS) -> Result:
    """Run a call of Playwright on its event loop, and wait for it. What does not come in time is an `AssertionError`."""
    future = portal.start_task_soon(work)
    try:
        return future.result(seconds + MARGIN)
    except (async_api.TimeoutError, TimeoutError) as error:
        raise AssertionError(str(error) or f"nothing came within {seconds + MARGIN:g} seconds") from error
    finally:
        future.cancel()


class Page:
    """A tab. Selectors are those of Playwright; `text` narrows them to an element that contains it, in any case."""

    def __init__(self, portal: BlockingPortal, tab: async_api.Page) -> None:
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self.requests: list[str] = []
        self._portal = portal
        self._tab = tab
        self._session: async_api.CDPSession | None = None
        tab.on("pageerror", lambda error: self.problems.append(error.stack or error.message))
        tab.on("console", self._take_message)
        tab.on("dialog", self._take_dialog)
        tab.on("websocket", lambda socket: self._take_url(socket.url))
        tab.context.on("request", self._take_request)  # also those of windows that the page opens

    def _take_message(self, message: async_api.ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.problems.append(f"{message.type}: {message.text} {message.location['url']}")

    async def _take_dialog(self, dialog: async_api.Dialog) -> None:
        if dialog.type == "beforeunload":
            await dialog.accept()
        else:
            self.problems.append(f"{dialog.type}: {dialog.message}")
            await dialog.dismiss()

    def _take_request(self, request: async_api.Request) -> None:
        self.requests.append(f"{request.method} {request.url}")
        self._take_url(request.url)

    def _take_url(self, url: str) -> None:
        if urlsplit(url).scheme not in ("blob", "data", "about"):
            self.hosts.add(urlsplit(url).netloc)

    def use(self, work: Callable[[async_api.Page], Awaitable[Result]], *, seconds: float = SECONDS) -> Result:
        """Do with the tab what this class has no method for."""
        return finish(self._portal, lambda: work(self._tab), seconds=seconds)

    def command(self, method: str, **parameters: Any) -> None:
        """Send a command of the DevTools protocol, for what Playwright lacks. Its effect lasts as long as the tab."""

        async def send(tab: async_api.Page) -> None:
            if self._session is None:
                self._session = await tab.context.new_cdp_session(tab)
            await self._session.send(method, parameters)

        self.use(send)

    def reload(self) -> None:
        """Load the same address again."""
        self.use(lambda tab: tab.reload())

    def resize(self, width: int, height: int) -> None:
        """Change the size of the screen."""
        self.use(lambda tab: tab.set_viewport_size({"width": width, "height": height}))

    def show_dark(self, dark: bool) -> None:
        """What the system prefers."""
        self.use(lambda tab: tab.emulate_media(color_scheme="dark" if dark else "light"))

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript; a promise is awaited. Works beside the page's policy."""
        return self.use(lambda tab: tab.evaluate(expression))

    def wait(self, expression: str) -> Any:
        """Evaluate an expression in each frame until it is true; returns its value."""

        async def wait(tab: async_api.Page) -> Any:
            # A function is evaluated once, and only that first time beside the page's policy.
            return await (await tab.wait_for_function(f"() => {expression}")).json_value()

        return self.use(wait)

    def wait_for(self, selector: str, text: str | None = None, *, seconds: float = SECONDS) -> None:
        """Wait for a visible element."""
        self.use(lambda tab: visible(tab, selector, text).first.wait_for(timeout=1000 * seconds), seconds=seconds)

    def wait_until_gone(self, selector: str, text: str | None = None) -> None:
        """Wait until no such element is visible."""
        self.use(lambda tab: expect(visible(tab, selector, text)).to_have_count(0, timeout=1000 * SECONDS))

    def wait_for_count(self, selector: str, count: int) -> None:
        """Wait until there are so many elements, visible or not."""
        self.use(lambda tab: expect(tab.locator(selector)).to_have_count(count, timeout=1000 * SECONDS))

    def wait_for_value(self, selector: str, value: str) -> None:
        """Wait until a field has this value."""
        self.use(lambda tab: expect(tab.locator(selector).first).to_have_value(value, timeout=1000 * SECONDS))

    def shows(self, selector: str, text: str | None = None) -> bool:
        """Whether there is such a visible element now."""
        return self.use(lambda tab: visible(tab, selector, text).count()) > 0

    def count(self, selector: str) -> int:
        """How many elements there are now, visible or not."""
        return self.use(lambda tab: tab.locator(selector).count())

    def text(self, selector: str) -> str:
        """The visible text of the first element."""
        return self.use(lambda tab: tab.locator(selector).first.inner_text())

    def attribute(self, selector: str, name: str) -> str:
        """An attribute of the first element; empty without it."""
        return self.use(lambda tab: tab.locator(selector).first.get_attribute(name)) or ""

    def html(self) -> str:
        """The document as it is now."""
        return self.use(lambda tab: tab.content())

    def click(self, selector: str, text: str | None = None) -> None:
        """Click with the mouse, as soon as the element is there, enabled, still and not covered."""
        self.use(lambda tab: visible(tab, selector, text).first.click())

    def fill(self, selector: str, text: str) -> None:
        """Replace the text of a field."""
        self.use(lambda tab: visible(tab, selector).first.fill(text))

    def choose(self, selector: str, value: str) -> None:
        """Choose the option with this value, as soon as there is one."""
        self.use(lambda tab: visible(tab, selector).first.select_option(value))

    def press(self, key: str) -> None:
        """Press a key: `Tab`, `Enter`, `Escape`, `ArrowRight`, `Space`, `Shift+Tab`."""
        self.use(lambda tab: tab.keyboard.press(key))

    def type(self, text: str) -> None:
        """Press the keys of a text."""
        self.use(lambda tab: tab.keyboard.type(text))

    def set_files(self, selector: str, *paths: Path) -> None:
        """Choose files in a field for them."""
        self.use(lambda tab: tab.locator(selector).first.set_input_files(paths))

    def open_beside(self, url: str) -> "Page":
        """A new tab of the same profile."""
        return self.use(lambda tab: new_page(self._portal, tab.context, url))

    def close(self) -> None:
        """Close the tab, and its profile if no other tab uses it."""

        async def close(tab: async_api.Page) -> None:
            await tab.close()
            if not tab.context.pages:
                await tab.context.close()

        self.use(close)


async def new_page(portal: BlockingPortal, context: async_api.BrowserContext, url: str) -> Page:
    """A new tab of a profile; on the event loop of Playwright, as every listener has to be added there."""
    tab = await context.new_page()
    page = Page(portal, tab)
    await tab.goto(url)
    return page


def visible(tab: async_api.Page, selector: str, text: str | None = None) -> async_api.Locator:
    """The elements that are visible and contain a text."""
    return tab.locator(selector, has_text=text).filter(visible=True)


class Browser:
    """One process."""

    def __enter__(self) -> Self:
        program = chromium()
        assert program is not None, "there is no Chromium: apt-get install chromium"
        with ExitStack() as opened:
            self._portal = opened.enter_context(start_blocking_portal())
            playwright = opened.enter_context(self._portal.wrap_async_context_manager(async_playwright()))
            self._chromium = self._portal.call(
                lambda: playwright.chromium.launch(
                    executable_path=program, args=FLAGS, chromium_sandbox=os.geteuid() != 0
                )
            )
            opened.callback(lambda: self._portal.call(self._chromium.close))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def open(
        self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False, language: str = "en-US"
    ) -> Page:
        """A new tab of a new profile: no storage is shared with other tabs."""

        async def open_() -> Page:
            context = await self._chromium.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                locale=language,
                timezone_id="UTC",
                user_agent="Filestead test",
            )
            context.set_default_timeout(1000 * SECONDS)
            return await new_page(self._portal, context, url)

        return finish(self._portal, open_)
