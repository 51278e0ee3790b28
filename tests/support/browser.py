"""Headless Chromium, driven by the DevTools protocol over two pipes: no port, no driver program, no package.

`Browser` is the process, `Page` a tab. A page records what a person would see in the developer tools: uncaught exceptions,
errors in the console, violations of the content security policy, and every host that it asked.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.preflight import find

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 20.0
LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Chromium reads commands from descriptor 3 and writes to 4."""

FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-dev-shm-usage", "--force-color-profile=srgb", "--lang=en-US", "--hide-scrollbars"),
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)

HELPERS = """
window.__find = (selector, text) => [...document.querySelectorAll(selector)].find((element) =>
  (text === null || element.textContent.trim().replace(/\\s+/g, ' ').includes(text)) && element.getClientRects().length > 0);
window.__center = async (selector, text) => {
  const element = window.__find(selector, text);
  if (!element || element.disabled) return null;
  element.scrollIntoView({ block: 'center', inline: 'center' });
  const before = element.getBoundingClientRect();
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
  const { x, y, width, height } = element.getBoundingClientRect();  // not while a list is being redrawn
  if (!width || x !== before.x || y !== before.y || window.__find(selector, text) !== element) return null;
  return [x + width / 2, y + height / 2];
};
"""


def chromium() -> str | None:
    """The path of an installed Chromium; None if the machine has none."""
    return next((path for name in NAMES if (path := find(name))), None)


class BrowserError(AssertionError):
    """A command that the browser refused, or something that did not happen in time."""


class Browser:
    """One process with its own empty profile."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="filestead-chromium-", ignore_cleanup_errors=True)
        self._last = 0
        self._answers: dict[int, Any] = {}
        self._buffer = b""
        self.pages: dict[str, Page] = {}
        commands, self._write = os.pipe()
        self._read, events = os.pipe()
        # Out of the way of 3 and 4.
        passed = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (commands, events)]
        flags = [*FLAGS, f"--user-data-dir={self._profile.name}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        program = chromium()
        assert program is not None, "there is no Chromium: apt-get install chromium"
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *map(str, passed), program, *flags, "about:blank"],
            pass_fds=passed,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (*passed, commands, events):
            os.close(descriptor)

    def call(self, method: str, session: str | None = None, /, **parameters: Any) -> Any:
        """Send a command and return its result; events that come meanwhile go to their pages."""
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while number not in self._answers:
            self.pump(deadline, what=method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def pump(self, deadline: float, *, what: str = "an event") -> None:
        """Read what the browser says next."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise BrowserError(f"nothing came in time for {what}")
        data = os.read(self._read, 1 << 20)
        if not data:
            raise BrowserError("the browser has ended")
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            elif page := self.pages.get(message.get("sessionId", "")):
                page.take(message["method"], message["params"])

    def open(
        self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False, language: str = "en-US"
    ) -> "Page":
        """A new tab of a new profile: no storage is shared with other tabs."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        return self.open_beside(context, url, width=width, height=height, dark=dark, language=language)

    def open_beside(
        self,
        context: str,
        url: str,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        language: str = "en-US",
    ) -> "Page":
        """A new tab of the profile of another one."""
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target, context)
        self.pages[session] = page
        page.prepare(width, height, dark=dark, language=language)
        page.go(url)
        return page

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError, BrowserError):
            self.call("Browser.close")
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Page:
    """A tab. Selectors are CSS; `text` narrows them to an element that contains it."""

    def __init__(self, browser: Browser, session: str, target: str, context: str) -> None:
        self.browser, self.session, self.target, self.context = browser, session, target, context
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self.requests: dict[str, str] = {}
        self.downloads: list[dict[str, Any]] = []
        self._loaded = False

    def call(self, method: str, /, **parameters: Any) -> Any:
        """Send a command to this tab."""
        return self.browser.call(method, self.session, **parameters)

    def prepare(self, width: int, height: int, *, dark: bool, language: str) -> None:
        """Record everything from now on, and look like a screen of this size."""
        for domain in ("Page", "Runtime", "Log", "Network", "Audits", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=HELPERS)
        self.resize(width, height)
        self.show_dark(dark)
        self.call("Emulation.setUserAgentOverride", userAgent="Filestead test", acceptLanguage=language)
        self.call("Emulation.setLocaleOverride", locale=language)
        self.call("Emulation.setTimezoneOverride", timezoneId="UTC")

    def resize(self, width: int, height: int) -> None:
        """Change the size of the screen."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def show_dark(self, dark: bool) -> None:
        """What the system prefers."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def take(self, method: str, event: dict[str, Any]) -> None:
        """Note an event."""
        if method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.problems.append(f"console: {[item.get('value') for item in event['args']]}")
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"log: {event['entry']['text']} {event['entry'].get('url', '')}")
        elif method == "Audits.issueAdded":
            self._take_issue(event["issue"])
        elif method == "Network.requestWillBeSent":
            url = event["request"]["url"]
            self.requests[event["requestId"]] = f"{event['request']['method']} {url}"
            if urlsplit(url).scheme not in ("blob", "data", "about"):
                self.hosts.add(urlsplit(url).netloc)
        elif method == "Page.loadEventFired":
            self._loaded = True

    def _take_issue(self, issue: dict[str, Any]) -> None:
        if issue["code"] == "ContentSecurityPolicyIssue":
            self.problems.append(f"csp: {issue['details']['contentSecurityPolicyIssueDetails']}")

    def go(self, url: str) -> None:
        """Load an address and wait for the document."""
        self._load("Page.navigate", url=url)

    def reload(self) -> None:
        """Load the same address again."""
        self._load("Page.reload")

    def _load(self, method: str, **parameters: Any) -> None:
        self._loaded = False
        self.call(method, **parameters)
        deadline = time.monotonic() + SECONDS
        while not self._loaded:
            self.browser.pump(deadline, what="the load of a page")

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript; a promise is awaited. Works beside the page's policy."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, expression: str, *, seconds: float = SECONDS) -> Any:
        """Wait until an expression is true; returns its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(expression)):
            if time.monotonic() > deadline:
                raise BrowserError(f"not in time: {expression}\n{self.text()[:2000]}\n{self.problems}")
            time.sleep(0.05)
        return value

    def wait_for(self, selector: str, text: str | None = None, *, seconds: float = SECONDS) -> None:
        """Wait for a visible element."""
        self.wait(f"Boolean(__find({json.dumps(selector)}, {json.dumps(text)}))", seconds=seconds)

    def wait_until_gone(self, selector: str, text: str | None = None) -> None:
        """Wait until there is no such element."""
        self.wait(f"!__find({json.dumps(selector)}, {json.dumps(text)})")

    def shows(self, selector: str, text: str | None = None) -> bool:
        """Whether there is such a visible element now."""
        return bool(self.run(f"Boolean(__find({json.dumps(selector)}, {json.dumps(text)}))"))

    def text(self, selector: str = "body") -> str:
        """The visible text of an element; empty without one."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def click(self, selector: str, text: str | None = None) -> None:
        """Click with the mouse, as soon as the element is there and enabled."""
        x, y = self.wait(f"__center({json.dumps(selector)}, {json.dumps(text)})")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def fill(self, selector: str, text: str) -> None:
        """Replace the text of a field."""
        self.click(selector)
        self.run(f"document.querySelector({json.dumps(selector)}).select?.()")
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """Choose the option with this value."""
        self.wait_for(selector)
        self.run(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)}); element.value = {json.dumps(value)};"
            " element.dispatchEvent(new Event('change', { bubbles: true })); })()"
        )

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key: `Tab`, `Enter`, `Escape`, `ArrowRight`."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}
        text = {"Enter": "\r", " ": " "}.get(key)
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key], "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def set_files(self, selector: str, *paths: Path) -> None:
        """Choose files in a field for them."""
        self.wait_for(selector)
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def screenshot(self, path: Path, *, full: bool = False) -> None:
        """Save what is visible, or the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Close the tab."""
        self.browser.call("Target.closeTarget", targetId=self.target)
        self.browser.pages.pop(self.session, None)
