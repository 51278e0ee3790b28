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
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import promises

PROGRAMS = "tests/e2e/test_client_programs.py"
MODEL_PROGRAMS = "tests/e2e/test_model_programs.py"
PLANTED = "tests/planted"
MODULE = "tests.planted"
NOTHING_COLLECTED = 5
"""pytest's exit status if no test is marked so."""
END_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Part:
    """One run of pytest, or of a module; it has failed when it takes longer than `minutes`."""

    name: str
    minutes: int
    arguments: tuple[str, ...]
    """Options of pytest, or the module that is run in its place."""
    variables: dict[str, str] = field(default_factory=dict)


PARTS = (
    Part("programs", 25, (PROGRAMS, "-rs")),
    Part("models", 15, (MODEL_PROGRAMS, "-rs")),
    Part(
        "repetitions",
        30,
        ("tests", "-m", "torture", *(f"--ignore={path}" for path in (PROGRAMS, MODEL_PROGRAMS, PLANTED))),
    ),
    Part("power", 25, ("tests/crash/test_power_loss.py",), {"POWER_STATES": "2000"}),
    Part("kills", 10, ("tests/crash/test_random_kills.py",), {"CRASH_CYCLES": "150"}),
    Part("batch-kills", 15, ("tests/crash/test_batch_kills.py",), {"BATCH_KILLS": "200"}),
    Part("soak", 20, ("tests/crash/test_soak.py",), {"SOAK_SECONDS": "900"}),
    Part("chaos", 25, ("tests/nodes/test_chaos.py",), {"CHAOS_CYCLES": "100"}),
    Part("histories", 40, ("tests/nodes/test_linearizability.py",), {"HISTORIES": "200"}),
    Part("flips", 15, ("tests/nodes/test_scrub.py", "-k", "flipped_bit")),
    Part("planted", 20, (MODULE,)),
)


def run(part: Part, record: Path) -> str | None:
    """Run it; returns what went wrong, if anything. Its trials of promises are added to the record."""
    options = () if part.arguments == (MODULE,) else ("pytest", "-s", "--timeout", "0")
    command = [sys.executable, "-m", *options, *part.arguments]
    environment = os.environ | {"TORTURE": "1", promises.VARIABLE: str(record)} | part.variables
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        status = process.wait(part.minutes * 60)
    except subprocess.TimeoutExpired:
        return f"took longer than {part.minutes} minutes"
    finally:
        _end(process)
    return None if status in {0, NOTHING_COLLECTED} else f"it ended with {status}"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Stop a part that was cut short, so that it stops what it has started; then whatever is left of it."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def main() -> int:
    """Run the parts that are named, or all; 1 if one of them failed."""
    names = [part.name for part in PARTS]
    wanted = sys.argv[1:] or names
    if unknown := [name for name in wanted if name not in names]:
        print(f"there is no part {unknown[0]}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        return run_parts(wanted, Path(folder) / "promises")


def run_parts(names: Collection[str], record: Path) -> int:
    """Run some parts, and print what became of them and of the promises; 1 if one of them failed."""
    outcomes = {}
    for part in PARTS:
        if part.name not in names:
            continue
        print(f"\n=== {part.name}: at most {part.minutes} minutes", flush=True)
        started = time.monotonic()
        outcome = run(part, record)
        outcomes[part.name] = f"{outcome or 'ok'} ({(time.monotonic() - started) / 60:.1f} minutes)"
        print(f"=== {part.name}: {outcomes[part.name]}", flush=True)
    if tallies := promises.read_record(record):
        print(f"\n{promises.table(tallies)}")
    print("\n" + "\n".join(f"{name}: {text}" for name, text in outcomes.items()))
    return 0 if all(text.startswith("ok ") for text in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
