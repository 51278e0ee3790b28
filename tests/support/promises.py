"""How often each promise was put to the test in a run, and how often it did not hold: the table at the end.

`@pytest.mark.promise("R-01")` counts a run of the test as one trial; a test that tries more often says so with the
fixture `trials`. A failure counts as one violation, whatever caused it. Of a test that fails in its set-up, and of one
that is skipped, nothing counts.

Without a violation in N independent trials, the rate of violations is at most 3/N with a confidence of 95 %. If the
environment names a file in `PROMISES_RECORD`, the sums of several runs are added up there.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

VARIABLE = "PROMISES_RECORD"

Trials = Callable[..., None]
"""The fixture `trials`: counts one trial, or so many as its argument says."""

PROMISES = {
    "R-01": "an acknowledged file survives kill -9 at any moment, and nothing is left of others",
    "R-02": "an acknowledged file survives a power failure",
    "R-03": "the same with several nodes, if a node, the database or the object store is killed",
    "R-04": "no download that ends cleanly has other bytes than were stored",
    "R-05": "several nodes behave like one: operations are linearizable",
    "R-06": "what was deleted is not read, listed or found again",
    "R-07": "an expired file is not visible, swept or not",
    "R-08": "no upload in progress is swept, and nothing unused stays",
    "R-09": "a full disk refuses uploads, and stops nothing else",
    "R-10": "a failed sync, write or close is not acknowledged, and not repeated",
    "R-11": "an outage of the database loses nothing, and ends without a restart",
    "R-12": "an outage of the object store loses nothing, and is reported soon",
    "R-14": "a jump of the clock deletes nothing and locks nobody out",
    "R-15": "a node that is cut off acknowledges nothing, and its jobs go on elsewhere",
    "R-16": "a creation or a deletion that is sent again has the effect of one",
    "R-17": "of a client that goes, nothing stays",
    "R-18": "the work of a process that dies is continued, and done once in its effects",
    "R-19": "of concurrent ends of one thing, one succeeds, or all are told of the same",
    "R-20": "damaged bytes are found",
    "R-21": "memory is bounded, whatever the size and number of transfers",
    "R-22": "a rolling restart fails no request",
    "R-23": "a restart with many files takes seconds",
    "R-24": "a restored backup has every file acknowledged before it began",
    "R-25": "a migration that is killed is completed by the next start",
    "R-26": "a mixed load with faults leaks nothing",
    "V-01": "`verify` has no finding about a sound installation under load",
    "V-02": "`verify --repair` mends leaks and sums, and nothing else",
    "I-11": "an upload in parts becomes one file of exactly its bytes, or none",
    "I-12": "a quota is exact to the byte under any race",
    "I-16": "each change has one event in the audit log, and a changed event is found",
    "S-02": "nobody reads or changes what belongs to another project",
    "S-03": "a file of another project cannot be told from an unknown one",
    "S-04": "keys are stored as digests, and a revoked one stops within seconds",
    "S-05": "a key does what its scopes allow, and nothing else",
    "S-07": "wrong keys are limited by address",
    "S-08": "only the route that serves a request decides whether a key is needed",
    "S-11": "a file name adds nothing to a header",
    "S-12": "a browser does not run what it downloads",
    "S-18": "a form is bounded in each of its dimensions",
    "S-19": "a slow client is cut off in time",
    "S-22": "a number is a number of ASCII digits within its bounds",
    "S-27": "a call that is broken off spoils no response of another client",
    "S-29": "no secret, content or name is in the log",
}
"""By their ids in the catalogue of reliability and security."""


@dataclass(slots=True)
class Tally:
    """What is known of one promise."""

    trials: int = 0
    violations: int = 0

    def bound(self) -> str:
        """The rate of violations that the trials do not exclude."""
        if self.violations:
            return "broken"
        return f"{min(1.0, 3 / self.trials):.2%}" if self.trials else "unknown"


class PromiseCounter:
    """The plugin. With xdist, workers send what they count with the reports of their tests."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self._failed: set[str] = set()
        self._called: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse a promise that is not in the list."""
        for item in items:
            if unknown := set(_promises_of(item)) - PROMISES.keys():
                raise pytest.UsageError(f"{item.nodeid} keeps an unknown promise: {', '.join(sorted(unknown))}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        item.user_properties[:] = [("promise", name) for name in _promises_of(item)]  # again, if the test is run again

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped:
            self._called.add(report.nodeid)
        if report.outcome == "rerun":
            self._called.discard(report.nodeid)
        if report.when != "setup" and report.failed:
            self._failed.add(report.nodeid)
        if report.when == "teardown" and report.nodeid in self._called:
            self._count(report)

    def _count(self, report: pytest.TestReport) -> None:
        trials = [int(value) for name, value in report.user_properties if name == "trials"]
        for name, promise in report.user_properties:
            if name == "promise":
                tally = self.tallies.setdefault(str(promise), Tally())
                tally.trials += sum(trials) if trials else 1
                tally.violations += report.nodeid in self._failed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        if hasattr(config, "workerinput"):
            return  # the controller counts the same reports
        tallies = self.tallies
        if path := os.environ.get(VARIABLE):
            with Path(path).open("a") as file:
                file.write(json.dumps({name: (one.trials, one.violations) for name, one in tallies.items()}) + "\n")
            tallies = read_record(Path(path))
        if tallies:
            terminalreporter.section("promises")
            terminalreporter.line(table(tallies))


def _promises_of(item: pytest.Item) -> list[str]:
    return sorted({name for mark in item.iter_markers("promise") for name in mark.args})


def read_record(path: Path) -> dict[str, Tally]:
    """The sums of the runs that have written to the file; none if there is no file."""
    sums: dict[str, Tally] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        for name, (trials, violations) in json.loads(line).items():
            tally = sums.setdefault(name, Tally())
            tally.trials += trials
            tally.violations += violations
    return sums


def table(tallies: Mapping[str, Tally]) -> str:
    """One line for each promise."""
    width = max(len(PROMISES[name]) for name in tallies)
    lines = [f"{'promise':{width + 6}}   trials  violations  at most (95 %)"]
    for name, tally in sorted(tallies.items()):
        text = f"{name}  {PROMISES[name]:{width}}"
        lines.append(f"{text}  {tally.trials:>7,}  {tally.violations:>10,}  {tally.bound():>14}")
    return "\n".join(lines)
