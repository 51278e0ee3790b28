"""The pictures of docs/console.md, made anew by `python -m tests.console.screenshots`: a server, a browser, every view."""

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from filestead.domain.batches.model import Parallelism
from filestead.domain.jobs import Job
from tests.console.conftest import batch_input, png
from tests.support.batch_worker import ERROR, BatchWorker
from tests.support.browser import Browser, Page
from tests.support.png import with_palette
from tests.support.servers import Server, run_command

FOLDER = Path(__file__).parents[2] / "docs/console"
SIZE = {"width": 1100, "height": 720}
ANSWERS = ("The seal is cooled by water.", "Close the main tap first.", "Nine to five.", "In the storeroom.")
PACE = ((40, 12, 16), (56, 16, 16), (62, 19, 22), (74, 22, 22), (78, 26, 30), (52, 14, 15))
"""Lines of each second and a half, those in flight and their limit."""


def fill(server: Server) -> None:
    """Files, a vector store and batches, as a project might have them."""
    server.upload("\n".join(batch_input(2_000)).encode(), purpose="batch", name="nightly-questions.jsonl")
    faulty = batch_input(8)
    faulty[2] = faulty[2][:-20]
    server.upload("\n".join(faulty).encode(), purpose="batch", name="draft.jsonl")
    server.upload(png(320, 200), purpose="vision", name="floor-plan.png")
    server.upload(b"x" * 48_211_003, name="recordings.tar")
    server.upload("مرحبا".encode(), name="تقرير المبيعات.txt")
    store = server.client.post("/vector_stores", json={"name": "Handbook"}).json()
    texts = {
        "pumps.md": "The pump must be primed with water before it is started. Never run it dry: the seal is cooled by the water.",
        "valves.md": "A valve is replaced by closing the main tap, turning the handle to the left and lifting the cover.",
        "hours.md": "The workshop is open from nine to five. Spare valves and seals are in the storeroom.",
        "scan.pdf": "%PDF-1.4",
    }
    for name, text in texts.items():
        file = server.upload(text.encode(), purpose="assistants", name=name)
        body = {"file_id": file["id"], "attributes": {"site": "Ulm", "year": 2026}}
        server.client.post(f"/vector_stores/{store['id']}/files", json=body)
    while server.client.get(f"/vector_stores/{store['id']}").json()["file_counts"]["in_progress"]:
        time.sleep(0.1)


@dataclass
class Running:
    """A batch that runs as far as `done`."""

    batch_id: str
    worker: BatchWorker
    job: Job
    done: int

    def go_on(self, page: Page) -> None:
        """Store more results while a page watches, so that it has something to plot."""
        for count, in_flight, limit in PACE:
            time.sleep(1.5)
            results = [line(number, ANSWERS[number % 4]) for number in range(self.done, self.done + count)]
            self.worker.append(self.job, *results, rate=42.0, parallelism=Parallelism(in_flight, limit))
            self.done += count
        time.sleep(1.5)


def run_batches(server: Server, worker: BatchWorker) -> Running:
    """One batch that has ended and one that runs; returns the latter."""
    for total, done in ((40, 40), (2_000, 880)):
        file = server.upload("\n".join(batch_input(total)).encode(), purpose="batch", name=f"questions-{total}.jsonl")
        form = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = server.client.post("/batches", json=form).json()
        job = worker.start(batch["id"], total, "llama-3.1-8b")
        good = [line(number, ANSWERS[number % 4]) for number in range(done - done // 40)]
        bad = [line(number, None) for number in range(done - done // 40, done)]
        worker.append(job, *good)
        worker.append(job, *bad, kind=ERROR, rate=42.0, parallelism=Parallelism(12, 16))
        if done == total:
            worker.finish(job)
    return Running(str(batch["id"]), worker, job, done)


def line(number: int, text: str | None) -> bytes:
    """A line of results; without a text, a failure."""
    if text is None:
        error = {"message": "The model is overloaded.", "type": "server_error", "param": None, "code": "overloaded"}
        response = {"status_code": 503, "request_id": "r", "body": {"error": error}}
    else:
        body = {"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 24 + number % 9}}
        response = {"status_code": 200, "request_id": "r", "body": body}
    content = {"id": f"batch_req_{number}", "custom_id": f"line-{number}", "response": response, "error": None}
    content["latency_ms"] = 380 + 97 * number % 740
    return json.dumps(content).encode() + b"\n"


def shoot(page: Page, view: str, element: str, name: str, text: str | None = None) -> None:
    """Show a view and save it."""
    page.run(f"location.hash = '#/{view}'")
    page.wait_for(element, text)
    page.wait_for_count("[aria-busy=true]", 0)
    time.sleep(0.4)
    page.run("scrollTo(0, 0)")
    page.use(lambda tab: tab.mouse.move(0, 0))  # no row is below the mouse
    path = FOLDER / f"{name}.png"
    path.write_bytes(with_palette(page.use(lambda tab: tab.screenshot())))


def signed_in(browser: Browser, server: Server, key: str, *, dark: bool) -> Page:
    """A new tab."""
    page = browser.open(f"{server.origin}/console", dark=dark, **SIZE)
    page.fill("#key", key)
    page.press("Enter")
    return page


def shoot_batches(browser: Browser, server: Server, running: Running, *, suffix: str, dark: bool) -> None:
    """The views of batches with one look."""
    assert server.key is not None
    page = signed_in(browser, server, server.key, dark=dark)
    shoot(page, "batches", "tbody a", f"batches{suffix}")
    page.run(f"location.hash = '#/batches/{running.batch_id}'")
    page.wait_for(".kinds")
    running.go_on(page)
    shoot(page, f"batches/{running.batch_id}", ".chart", f"batch{suffix}")


def shoot_views(browser: Browser, server: Server, key: str, *, suffix: str, dark: bool) -> None:
    """The other views with one look."""
    page = signed_in(browser, server, key, dark=dark)
    shoot(page, "files", "tbody a", f"files{suffix}")
    page.click("a", "draft.jsonl")
    page.wait_for("ol.lines")
    shoot(page, page.run("location.hash.slice(2)"), "ol.lines", f"file{suffix}")
    shoot(page, "vector-stores", "tbody a", f"vector-stores{suffix}")
    page.click("a", "Handbook")
    page.wait_for("td", "pumps.md")
    page.fill("input[type=search]", "replace a valve")
    page.press("Enter")
    page.wait_for(".passage")
    shoot(page, page.run("location.hash.slice(2)"), ".passage", f"vector-store{suffix}")
    shoot(page, "usage", ".bars", f"usage{suffix}")
    shoot(page, "admin", ".bars", f"administration{suffix}")


def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        with Server(Path(folder) / "one") as server:
            fill(server)
            scopes = [word for scope in ("admin", "files:read", "files:write") for word in ("--scope", scope)]
            key = run_command(
                server.data_dir, "keys", "create", "--project", "default", "--user", "ada", *scopes
            ).stdout.strip()
            for suffix, dark in (("", False), ("-dark", True)):
                shoot_views(browser, server, key, suffix=suffix, dark=dark)
        with (
            Server(Path(folder) / "two", role="api", upstream_url="http://127.0.0.1:9/v1") as server,
            BatchWorker.of(server) as worker,
        ):
            running = run_batches(server, worker)
            for suffix, dark in (("", False), ("-dark", True)):
                shoot_batches(browser, server, running, suffix=suffix, dark=dark)


if __name__ == "__main__":
    main()
