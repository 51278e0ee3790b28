"""`filestead verify`: checks an installation, and mends leaks and sums if it is told to."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Annotated

import msgspec
from cyclopts import Parameter

from filestead import installation, settings
from filestead.cli.errors import UsageError
from filestead.domain.errors import DatabaseDamaged
from filestead.domain.integrity import Repair, VerifyReport, Violation
from filestead.installation import COMMAND_TIMEOUT_SECONDS, Backends, upkeep

EXIT_STATUS = {"A": 3, "B": 2, "C": 1}
ACTIONS = {
    Repair.SWEEP: "a sweep deletes it",
    Repair.DELETE: "it is deleted, as nothing refers to it",
    Repair.RECOMPUTE: "the sum is computed anew",
}
Flag = Annotated[bool, Parameter(negative="")]


def verify(
    *, deep: Flag = False, repair: Flag = False, yes: Flag = False, json: Flag = False, data_dir: str | None = None
) -> int:
    """Check that every file has its content, and that there is no garbage. Read-only; a server may be running.

    With --repair, each finding says what a repair would do about it, and still nothing is changed. With --repair --yes
    the repair is done, and everything is checked again. A repair deletes what nothing refers to (abandoned uploads,
    contents and rows of what does not exist) and computes sums anew (the usage of projects, the received bytes of
    uploads). It never touches a file, nor anything else of class A, and no upload in progress: those findings are left.

    Look at the list, then repair:

        filestead verify --repair
        filestead verify --repair --yes

    Exit status: 0 no findings, 1 cosmetic findings, 2 leaks that a sweep repairs, 3 a violated guarantee (class A).
    After a repair, it is that of the second check.

    Parameters
    ----------
    deep
        Also read all contents and compare their SHA-256.
    repair
        Say of each finding what a repair would do about it, without --yes nothing more.
    yes
        Do what --repair says, and check again.
    json
        Print one JSON object for each finding, and one with the totals at the end; after a repair, both once more.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """
    if yes and not repair:
        raise UsageError("--yes requires --repair")

    found = installation.from_settings(settings.load(data_dir=data_dir))
    report = asyncio.run(_check(lambda: found.open(operation_timeout=COMMAND_TIMEOUT_SECONDS), deep=deep))
    if not repair:
        _print(report, json=json)
        return _exit_status(report)
    plan = upkeep.plan_repair(report)
    _print(report, json=json, plan=plan)
    if yes and plan.to_repair:
        report = asyncio.run(_check(found.open_for_command, deep=deep, plan=plan))
        _say(f"{len(plan.to_repair)} findings were repaired; checked again:", json=json)
        _print(report, json=json)
    elif plan.to_repair:
        _say("nothing was changed: run `filestead verify --repair --yes` to repair these", json=json)
    else:
        _say("there is nothing to repair; nothing was changed", json=json)
    return _exit_status(report)


async def _check(
    open_backends: Callable[[], Backends], *, deep: bool, plan: upkeep.RepairPlan | None = None
) -> VerifyReport:
    """Check everything, after what the plan says was done."""

    def progress(report: VerifyReport) -> None:
        if sys.stderr.isatty():
            print(f"\r{report.files} files, {report.bytes} bytes, {report.blobs} blobs", end="", file=sys.stderr)

    try:
        with contextlib.closing(open_backends()) as backends:
            if plan is not None:
                await upkeep.repair(backends, plan)
            report = await upkeep.verify(backends, deep=deep, progress=progress)
    except DatabaseDamaged as error:  # what it says of anything else means nothing
        report = VerifyReport()
        report.violations.append(Violation("I-18", "A", "database", str(error), "restore the last backup"))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return report


def _say(sentence: str, *, json: bool) -> None:
    if not json:
        print(sentence)


def _print(report: VerifyReport, *, json: bool, plan: upkeep.RepairPlan | None = None) -> None:
    """Print findings and totals; with a plan, also what is done about each."""
    for finding in report.violations:
        if json:
            values = msgspec.to_builtins(finding)
            values["repair"] = finding.repair if plan is None or finding in plan.to_repair else None
            print(msgspec.json.encode(values).decode())
        else:
            about = f"{finding.invariant} ({finding.severity}) {finding.subject}"
            print(f"{about}: {finding.evidence}; {_text(finding, plan)}")
    sums = {"files": report.files, "bytes": report.bytes, "blobs": report.blobs, "findings": len(report.violations)}
    if plan is not None:
        sums["to_repair"] = len(plan.to_repair)
    text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sums.items())
    print(msgspec.json.encode(sums).decode() if json else text)
    if plan is not None and plan.obstacle is not None:
        _say(f"findings that a repair could mend are left, because {plan.obstacle}", json=json)


def _text(finding: Violation, plan: upkeep.RepairPlan | None) -> str:
    if plan is None:
        return finding.remedy
    if finding.repair is None or finding not in plan.to_repair:
        return f"left: {finding.remedy}"
    return f"to repair: {ACTIONS[finding.repair]}"


def _exit_status(report: VerifyReport) -> int:
    return max((EXIT_STATUS[finding.severity] for finding in report.violations), default=0)
