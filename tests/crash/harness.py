"""What the crash tests share: a server that can be told to die or to fail, and a look at what is really stored."""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from filestead.cli.admin.sweep import sweep
from filestead.cli.admin.verify import verify
from tests.support.installations import place_of
from tests.support.servers import Server
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
ANSWER_PARTS = ("answer head", "answer body")


class Victim(Server):
    """A server whose steps are traced and can be made to fail; see `victim.py` for acts and steps."""

    def __init__(self, data_dir: Path, *, jobs: bool = False, **settings: Any) -> None:
        """Small uploads go to the blob store like large ones, unless `inline_bytes` says otherwise.

        With `jobs` the claims of jobs are steps, too.
        """
        settings = {"inline_bytes": 0} | settings
        environment = victim_environment(data_dir) | ({"VICTIM_JOBS": "1"} if jobs else {})
        self._plan = Path(environment["VICTIM_PLAN"])
        self._trace = Path(environment["VICTIM_TRACE"])
        self._first_step = len(self.trace())
        super().__init__(data_dir, module="tests.crash.victim", env=environment, **settings)
        # The first sweep would otherwise get among the steps of what is tested.
        wait_until(
            lambda: "after index.delete_detached|" in self.trace()[self._first_step :], "there was no first sweep"
        )

    def arm(self, act: str, step: str, nth: int | str = 1) -> None:
        """Put a plan into force for requests from now on: those before have noted the end of their response."""
        self._wait_for_responses()
        write_plan(self.data_dir, act, step, nth)

    def _wait_for_responses(self) -> None:
        """A client has its response a little before the victim knows that it was sent."""

        def are_noted() -> bool:
            steps = self.trace()[self._first_step :]
            return all(steps.count(f"before {part}|") == steps.count(f"after {part}|") for part in ANSWER_PARTS)

        wait_until(are_noted, "a response is still being sent")

    def disarm(self) -> None:
        """Let everything work again."""
        self._plan.unlink(missing_ok=True)

    @contextlib.contextmanager
    def failing(self, act: str, step: str, nth: int | str = 1) -> Iterator[None]:
        """A plan for a while."""
        self.arm(act, step, nth)
        try:
            yield
        finally:
            self.disarm()

    @contextlib.contextmanager
    def traced(self) -> Iterator[list[str]]:
        """The steps of what happens inside, in the list once it has ended."""
        self._wait_for_responses()
        before = len(self.trace())
        steps: list[str] = []
        yield steps
        self._wait_for_responses()
        steps += self.trace()[before:]

    def trace(self) -> list[str]:
        """Every step so far, as `step|detail`."""
        return self._trace.read_text().splitlines() if self._trace.exists() else []


def victim_environment(data_dir: Path) -> dict[str, str]:
    """The victim's own variables, for the plan and the trace beside a data directory."""
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "VICTIM_PLAN": str(data_dir.with_name("plan")),
        "VICTIM_TRACE": str(data_dir.with_name("trace")),
    }


def write_plan(data_dir: Path, act: str, step: str, nth: int | str) -> None:
    """Put a plan into force for the victim on a data directory."""
    draft = data_dir.with_name("draft")
    draft.write_text(f"{act}|{step}|{nth}")
    draft.rename(data_dir.with_name("plan"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def send_form(
    client: httpx2.Client, name: str, content: bytes, *, purpose: str = "user_data", file_first: bool = False
) -> httpx2.Response:
    """Upload with the fields in either order."""
    fields = [("purpose", (None, purpose.encode())), ("file", (name, content))]
    return client.post("/files", files=fields[::-1] if file_first else fields)


def error_of(response: httpx2.Response) -> Any:
    """The error in the envelope."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


# --- what is stored -------------------------------------------------------------------------------------------------


def sql(data_dir: Path, statement: str, *values: object) -> list[Any]:
    """A statement on the installation's database, beside its server."""
    return place_of(data_dir).sql(statement, *values)


def expire(data_dir: Path, *file_ids: str) -> None:
    """An hour passes, which is the shortest lifetime."""
    marks = ",".join("?" * len(file_ids))
    sql(data_dir, f"UPDATE files SET expires_at = created_at WHERE id IN ({marks})", *file_ids)


def end_claims(data_dir: Path) -> None:
    """The minute passes after which what a dead sweep had claimed is free again."""
    sql(data_dir, "UPDATE blobs SET lease_until_us = 1 WHERE state = 'doomed'")


def staged(data_dir: Path) -> set[str]:
    return place_of(data_dir).staged()


def stored(data_dir: Path) -> set[str]:
    return place_of(data_dir).stored()


LIVE_BLOBS = (
    "SELECT blob_key FROM files WHERE parts IS NULL UNION SELECT blob_key FROM upload_parts UNION "
    "SELECT part_key FROM blob_parts JOIN files ON files.blob_key = blob_parts.blob_key"
)
RESERVED_BYTES = (
    "SELECT coalesce(sum(bytes), 0) FROM (SELECT project_id, bytes FROM uploads WHERE status = 'pending' "
    "UNION ALL SELECT project_id, bytes_reserved FROM batches) reserved WHERE reserved.project_id = projects.id"
)
"""Of uploads in parts, and of batches for their results."""


def garbage(data_dir: Path) -> dict[str, object]:
    """Everything that a quiet installation does not have."""
    live = {key for (key,) in sql(data_dir, LIVE_BLOBS)}
    found = {
        "staged": staged(data_dir),
        "blobs without a file or part": stored(data_dir) - live,
        "files and parts without a blob": live - stored(data_dir),
        "ledger": sql(data_dir, "SELECT * FROM blobs WHERE state != 'live'"),
        "reserved": sql(
            data_dir, f"SELECT id, bytes_reserved FROM projects WHERE bytes_reserved != ({RESERVED_BYTES})"
        ),
    }
    return {name: what for name, what in found.items() if what}


def wait_until_quiet(data_dir: Path, seconds: float = 30) -> None:
    """Wait for background work to be done, and fail if it leaves anything."""
    wait_until(lambda: not garbage(data_dir), lambda: garbage(data_dir), seconds)


def findings(data_dir: Path) -> list[dict[str, Any]]:
    """What `filestead sweep` and then `filestead verify --deep --json` say, run within this process for speed."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        sweep(data_dir=str(data_dir))
        output.truncate(0)
        output.seek(0)
        status = verify(deep=True, json=True, data_dir=str(data_dir))
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert (status == 0) == (lines[-1]["findings"] == 0 == len(lines) - 1)
    return lines[:-1]
