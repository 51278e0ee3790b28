"""`python -m bench`: measure, print the table, keep the figures, and exit with 1 if a goal is missed."""

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench import plot, report
from bench.batches import measure_batches
from bench.batches_litellm import measure_litellm
from bench.checked_uploads import measure_checked_uploads
from bench.command_line import measure_command_line
from bench.forwarding import measure_forwarding
from bench.hybrid import measure_hybrid
from bench.lines import measure_lines
from bench.listing import measure_listing
from bench.litellm_files import measure_litellm_files
from bench.memory import measure_memory
from bench.nginx import Nginx, nginx
from bench.nginx import version as nginx_version
from bench.ogx_files import measure_ogx_files
from bench.parts import measure_parts
from bench.plan import FULL, FULL_PARTS, QUICK, Bench, CannotMeasure, Plan, WrongAnswer, find_program
from bench.process import measure_process
from bench.production_bytes import measure_large_uploads, measure_objects
from bench.production_parts import measure_parts as measure_parts_in_objects
from bench.production_rows import measure_most_rows, measure_requests, measure_rows
from bench.report import Row
from bench.requests import measure_get, measure_small_uploads, measure_workers
from bench.scheduling import measure_scheduling
from bench.search import measure_search
from bench.signals import measure_signals
from bench.transfers import measure_download, measure_parallel_uploads, measure_upload
from bench.vector_stores import measure_vector_stores

RESULTS = Path(__file__).parent / "results"
LATEST = RESULTS / "latest.json"
LIMIT_SECONDS = 60 * 60
"""No run takes longer; on a slow disk it is better to have no figures than a machine that is never given back."""

LAST_START_SECONDS = 12 * 60
"""A run without the long measures ends within 15 minutes: no measure begins after this time, and none takes three."""

MISSED = 1
INCOMPLETE = 2


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure and the programs that it cannot do without."""

    run: Callable[[Bench, Nginx | None], list[Row]]
    needs: tuple[str, ...] = ()
    long: bool = False
    """It belongs to `make bench-full`."""


MEASURES = {
    "upload": Measure(measure_upload, ("curl",)),
    "download": Measure(measure_download, ("curl",)),
    "parallel-uploads": Measure(measure_parallel_uploads, ("curl",), long=True),
    "get": Measure(measure_get, ("wrk",)),
    "workers": Measure(measure_workers, ("wrk",)),
    "process": Measure(measure_process),
    "command-line": Measure(measure_command_line),
    "signals": Measure(measure_signals, ("wrk",)),
    "small-uploads": Measure(measure_small_uploads, ("wrk",)),
    "memory": Measure(measure_memory, ("curl",)),
    "lines": Measure(measure_lines, ("curl",)),
    "checked-uploads": Measure(measure_checked_uploads, ("curl",)),
    "listing": Measure(measure_listing),
    "search": Measure(measure_search, long=True),
    "vector-stores": Measure(measure_vector_stores, long=True),
    "hybrid": Measure(measure_hybrid, long=True),
    "batches": Measure(measure_batches),
    "batches-litellm": Measure(measure_litellm),
    "scheduling": Measure(measure_scheduling, long=True),
    "parts": Measure(measure_parts, ("curl",)),
    "forwarding": Measure(measure_forwarding, ("wrk",)),
    "litellm-files": Measure(measure_litellm_files, ("wrk",), long=True),
    "ogx-files": Measure(measure_ogx_files, ("wrk",), long=True),
    "production-objects": Measure(measure_objects, ("curl", "weed")),
    "production-parts": Measure(measure_parts_in_objects, ("curl", "weed")),
    "production-memory": Measure(measure_large_uploads, ("curl", "weed"), long=True),
    "production-requests": Measure(measure_requests, ("wrk", "weed"), long=True),
    "production-listing": Measure(measure_rows, ("weed",), long=True),
    "production-most": Measure(measure_most_rows, ("weed",), long=True),
}


def main() -> int:
    """Run what the command line asks for."""
    plan, names, given = _arguments()
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _end)
    signal.alarm(LIMIT_SECONDS)
    RESULTS.mkdir(exist_ok=True)
    try:
        # Beside the results and not in /tmp, which is memory on many machines and would make syncing free.
        with tempfile.TemporaryDirectory(prefix="run-", dir=RESULTS) as directory, _nginx(Path(directory)) as reference:
            machine = report.machine(Path(directory), nginx_version() if reference else "none")
            bench = Bench(plan, Path(directory), _progress)
            rows: list[Row] = []
            for row in _measure(bench, names, reference, LIMIT_SECONDS if given.full else LAST_START_SECONDS):
                rows.append(row)
                result = _keep(machine, rows, plan)  # each time: a run that is interrupted leaves its figures
    except KeyboardInterrupt:
        return 130
    finally:
        _stop_children()
    print(report.table(rows, plan.judged))
    print(f"\nEvery figure is in {LATEST.relative_to(Path.cwd()) if LATEST.is_relative_to(Path.cwd()) else LATEST}")
    if given.plot:
        print("Plots:", *plot.write(result, plot.DOCS))
    verdicts = {row.verdict(plan.judged) for row in rows}
    return MISSED if "MISSED" in verdicts else INCOMPLETE if "not measured" in verdicts else 0


def _arguments() -> tuple[Plan, Sequence[str], argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Filestead beside nginx.")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything run? goals are not judged")
    parser.add_argument(
        "--only",
        metavar="NAME[,NAME]",
        help=f"measure only some of: {', '.join(MEASURES)}; production is all of its own",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each transfer and each load")
    parser.add_argument(
        "--full", action="store_true", help="the long measures, too, and 8 GiB in parts instead of 1 GiB"
    )
    parser.add_argument("--plot", action="store_true", help="draw the comparisons with other programs: docs/*.svg")
    given = parser.parse_args()
    usual = [name for name, measure in MEASURES.items() if given.full or not measure.long]
    chosen = given.only.split(",") if given.only else usual
    if unknown := [word for word in chosen if not named(word)]:
        parser.error(f"there is no measure {unknown[0]}; there are {', '.join(MEASURES)}")
    names = list(dict.fromkeys(name for word in chosen for name in named(word)))
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds takes a number from 1 on")
    plan = QUICK if given.quick else FULL
    if given.full:
        plan = replace(plan, parts=FULL_PARTS)
    if given.rounds:
        plan = replace(plan, rounds=given.rounds, load_rounds=given.rounds, parts_rounds=given.rounds)
    return plan, names, given


def named(word: str) -> list[str]:
    """The measure of this name, or those whose names begin with the word: `production` is a whole profile."""
    return [name for name in MEASURES if name == word or name.startswith(f"{word}-")]


@contextlib.contextmanager
def _nginx(directory: Path) -> Iterator[Nginx | None]:
    """The reference, or None where there is none: our own figures are worth having without it."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(nginx(directory))
        except CannotMeasure as error:
            _progress(f"no reference: {error}")
            running = None
        yield running


def _measure(bench: Bench, names: Sequence[str], reference: Nginx | None, last_start: float) -> Iterator[Row]:
    """The rows of the measures; none begins later than so many seconds after the first."""
    began = time.monotonic()
    for name in names:
        seconds = time.monotonic() - began
        if seconds > last_start:
            yield Row(measure=name, note="the time of a run without --full is over")
            continue
        _progress(f"{name}, after {seconds:.0f} s")
        measure = MEASURES[name]
        try:
            for program in measure.needs:
                find_program(program)
            yield from measure.run(bench, reference)
        except CannotMeasure as error:
            yield Row(measure=name, note=str(error))
        except WrongAnswer as error:
            yield Row(measure=name, problem=str(error))
        except Exception as error:  # must not cost the figures of the others
            traceback.print_exc()
            yield Row(measure=name, problem=repr(error))


def _keep(machine: dict[str, object], rows: Sequence[Row], plan: Plan) -> dict[str, object]:
    run = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "quick": not plan.judged, "machine": machine}
    result = run | {"measures": report.as_json(rows, plan.judged)}
    LATEST.write_text(json.dumps(result, indent=2) + "\n")
    return result


def _end(number: int, _: object) -> None:
    _progress(f"ended by {signal.Signals(number).name}")
    sys.exit(128 + number)


def _stop_children() -> None:
    """Each measure stops what it has started; this is for one that was interrupted in the middle of a start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    psutil.wait_procs(children, timeout=10)


def _progress(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
