"""`make torture`: what takes too long for every change. Each part is bounded in time, and all run whatever the others did.

`python -m tests.support.torture [NAME ...]` runs some of the parts.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support import promises

PROGRAMS = "tests/e2e/test_client_programs.py"
MODEL_PROGRAMS = "tests/e2e/test_model_programs.py"
PLANTED = "tests/planted"
CRASHES = ("tests/crash", "tests/migration")
VERIFY = "tests/api/test_sound_installation.py"
MODULE = "tests.planted"
NOT_TIMING = "torture and not timing"
OUTAGES = tuple(
    f"tests/{name}.py"
    for name in (
        *("nodes/test_dependencies", "nodes/test_failures", "nodes/test_row_reads", "nodes/test_partition"),
        *("nodes/test_over_http", "nodes/test_races", "stores/test_s3_faults", "crash/test_slow_clients"),
    )
)
NODES = tuple(
    f"tests/nodes/{name}.py"
    for name in ("test_rolling_restart", "test_tenants_under_cancellation", "test_races_of_resources")
)
NOTHING_COLLECTED = 5
"""pytest's exit status if no test is marked so."""
END_SECONDS = 30
POLL_SECONDS = 0.2
MINUTES = 80
"""Of all parts together."""
AT_ONCE = 4
"""Parts that run beside each other: most of them wait for disks and for servers that start."""
RECORD = "promises"


@dataclass(frozen=True, slots=True)
class Part:
    """One run of pytest, or of a module; it has failed when it takes longer than `minutes`."""

    name: str
    minutes: float
    arguments: tuple[str, ...]
    """Options of pytest, or the module that is run in its place."""
    variables: dict[str, str] = field(default_factory=dict)
    is_alone: bool = False
    """Nothing runs beside it, as it measures time."""


PARTS = (
    Part("timing", 15, ("tests", "-m", "torture and timing"), is_alone=True),
    Part(
        "repetitions",
        MINUTES,
        ("tests", "-m", NOT_TIMING, *(f"--ignore={path}" for path in (PROGRAMS, MODEL_PROGRAMS, PLANTED, *CRASHES))),
    ),
    Part("kill-points", MINUTES, (*CRASHES, "-m", NOT_TIMING)),
    Part("chaos", 40, ("tests/nodes/test_chaos.py",), {"CHAOS_CYCLES": "170"}),
    Part("kills", MINUTES, ("tests/crash/test_random_kills.py",), {"CRASH_CYCLES": "1000"}),
    Part("power", 30, ("tests/crash/test_power_loss.py",), {"POWER_STATES": "2000"}),
    Part("soak", 25, ("tests/crash/test_soak.py",), {"SOAK_SECONDS": "900"}),
    Part("histories", 30, ("tests/nodes/test_linearizability.py",), {"HISTORIES": "200"}),
    Part("outages", 30, (*OUTAGES, "-m", "promise"), {"REPETITIONS": "2"}),
    Part("planted", 50, (MODULE,)),
    Part("programs", 30, (PROGRAMS, "-rs")),
    Part("system-calls", 40, ("tests/crash/test_system_call_kills.py",)),
    Part("batch-kills", 20, ("tests/crash/test_batch_kills.py",), {"BATCH_KILLS": "200"}),
    Part("verify", 15, (VERIFY,), {"VERIFY_RUNS": "1000"}),
    Part("verify-shared", 15, (VERIFY, "--profile", "shared"), {"VERIFY_RUNS": "250"}),
    Part("models", 15, (MODEL_PROGRAMS, "-rs")),
    Part("aborts", 10, ("tests/crash/test_slow_clients.py", "-k", "vanish"), {"ABORTS": "1000"}),
    Part("nodes", 20, NODES, {"RESTARTS": "50", "TENANT_REQUESTS": "100000", "RACE_ROUNDS": "500"}),
    Part("flips", 15, ("tests/nodes/test_scrub.py", "-k", "flipped_bit")),
)
"""What measures time comes first; then the longest begin first, so that all end at about the same time."""


class Run:
    """A part that is running, and what it prints."""

    def __init__(self, part: Part, folder: Path) -> None:
        """Its trials of promises are added to the record of the folder."""
        options = () if part.arguments == (MODULE,) else ("pytest", "-s", "--timeout", "0")
        environment = os.environ | {"TORTURE": "1", promises.VARIABLE: str(folder / RECORD)} | part.variables
        self.part = part
        self.log = folder / f"{part.name}.log"
        self.processor_minutes = 0.0
        """Of the part and what it has started, as far as that has ended."""
        self._started = time.monotonic()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *options, *part.arguments],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def minutes(self) -> float:
        """Since it was started."""
        return (time.monotonic() - self._started) / 60

    def outcome(self) -> str | None:
        """What has become of it: `ok`, or what went wrong; None while it runs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(self._process.pid).cpu_times()
            spent = times.user + times.system + times.children_user + times.children_system
            self.processor_minutes = max(self.processor_minutes, spent / 60)
        status = self._process.poll()
        if status is None:
            return f"took longer than {self.part.minutes} minutes" if self.minutes > self.part.minutes else None
        return "ok" if status in {0, NOTHING_COLLECTED} else f"it ended with {status}"

    def end(self) -> None:
        """Stop a part that was cut short, so that it stops what it has started; then whatever is left of it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def main() -> int:
    """Run the parts that are named, or all; 1 if one of them failed."""
    names = [part.name for part in PARTS]
    wanted = sys.argv[1:] or names
    if unknown := [name for name in wanted if name not in names]:
        print(f"there is no part {unknown[0]}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        return run_parts([part for part in PARTS if part.name in wanted], Path(folder))


def may_start(part: Part, running: list[Part]) -> bool:
    """Whether there is room for a part beside those that are running."""
    if part.is_alone or any(other.is_alone for other in running):
        return not running
    return len(running) < AT_ONCE


def run_parts(parts: Iterable[Part], folder: Path) -> int:
    """Run parts, several at a time, and print what became of them and of the promises; 1 if one of them failed.

    What a part prints is in its log in the folder while it runs, and is printed at its end.
    """
    waiting = deque(parts)
    running: list[Run] = []
    outcomes: dict[str, str] = {}
    deadline = time.monotonic() + MINUTES * 60
    try:
        while waiting or running:
            is_over = time.monotonic() > deadline
            while waiting and is_over:
                outcomes[waiting.popleft().name] = f"was not started: the {MINUTES} minutes of all parts are over"
            while waiting and may_start(waiting[0], [run.part for run in running]):
                running.append(run := Run(waiting.popleft(), folder))
                print(f"=== {run.part.name}: at most {run.part.minutes} minutes; its log is {run.log}", flush=True)
            for run in list(running):
                outcome = run.outcome() or (
                    f"had not ended after the {MINUTES} minutes of all parts" if is_over else None
                )
                if outcome is not None:
                    running.remove(run)
                    run.end()
                    outcomes[run.part.name] = (
                        f"{outcome} ({run.minutes:.1f} minutes, {run.processor_minutes:.1f} of a processor)"
                    )
                    print(f"\n{run.log.read_text(errors='replace')}", flush=True)
                    print(f"=== {run.part.name}: {outcomes[run.part.name]}", flush=True)
            time.sleep(POLL_SECONDS)
    finally:
        for run in running:
            run.end()
    if tallies := promises.read_record(folder / RECORD):
        print(f"\n{promises.table(tallies)}")
    print("\n" + "\n".join(f"{name}: {text}" for name, text in outcomes.items()))
    return 0 if all(text.startswith("ok ") for text in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
