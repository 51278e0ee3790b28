"""`verify`, `sweep` and `verify --repair` of a whole installation: the steps of its parts, in their order."""

from dataclasses import dataclass

from filestead.domain.audit.chain import find_broken
from filestead.domain.files.sweep import Sweeper
from filestead.domain.files.verify import Progress, delete_orphans, ignore_progress
from filestead.domain.files.verify import verify as verify_files
from filestead.domain.integrity import Repair, VerifyReport, Violation
from filestead.domain.uploads.verify import find_damaged_parts
from filestead.installation.backends import Backends

DETACHED_PER_SWEEP = 1_000
BLOCKS_PER_SWEEP = 100
"""Of journals; one has up to 256 KiB."""

DAMAGED_DATABASE = "I-18"
WRONG_LEDGER_OF_BLOBS = "I-21"


async def verify(backends: Backends, *, deep: bool, progress: Progress = ignore_progress) -> VerifyReport:
    """Check every row and every blob; changes nothing."""
    report = await verify_files(backends.files, backends.blobs, deep=deep, progress=progress)
    report.violations += await find_damaged_parts(backends.uploads, backends.files, backends.blobs, deep=deep)
    broken, _ = await find_broken(backends.audit)
    report.violations += [broken] if broken else []
    return report


async def sweep(backends: Backends, *, orphans: bool) -> int:
    """Delete what a server's sweeps delete, and with `orphans` blobs without a row; returns the number of blobs."""
    removed = await Sweeper(backends.files, backends.blobs).sweep()
    await sweep_index(backends)
    await sweep_journals(backends)
    return removed + (await delete_orphans(backends.files, backends.blobs) if orphans else 0)


async def sweep_index(backends: Backends) -> None:
    """Delete what belongs to detached files, and to vector stores that have expired."""
    while await backends.index.delete_detached(DETACHED_PER_SWEEP):
        pass


async def sweep_journals(backends: Backends) -> None:
    """Delete the journals of batches that have ended."""
    while await backends.batch_runs.delete_finished_journals(BLOCKS_PER_SWEEP):
        pass


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What a repair would do about the findings of `verify`."""

    to_repair: list[Violation]
    obstacle: str | None
    """Why some findings that could be repaired are left, in words; None if there are none."""


def plan_repair(report: VerifyReport) -> RepairPlan:
    """Choose the findings to repair: none in a damaged database, and no blobs while their ledger is wrong.

    Otherwise the repair itself could take what a file needs.
    """
    found = {finding.invariant for finding in report.violations}
    wanted = [finding for finding in report.violations if finding.repair is not None]
    if DAMAGED_DATABASE in found:
        allowed = set[Repair]()
        reason = f"the database is damaged ({DAMAGED_DATABASE})"
    elif WRONG_LEDGER_OF_BLOBS in found:
        allowed = {Repair.RECOMPUTE}
        reason = f"the ledger of blobs is wrong ({WRONG_LEDGER_OF_BLOBS}), so that no content may be deleted"
    else:
        return RepairPlan(wanted, None)
    chosen = [finding for finding in wanted if finding.repair in allowed]
    return RepairPlan(chosen, reason if len(chosen) < len(wanted) else None)


async def repair(backends: Backends, plan: RepairPlan) -> None:
    """Do what the plan says. Servers may run: a sweep respects leases, and each sum is computed under its lock."""
    repairs = {finding.repair for finding in plan.to_repair if finding.repair is not None}
    await backends.files.repair_rows(repairs)
    if repairs & {Repair.SWEEP, Repair.DELETE}:
        await sweep(backends, orphans=Repair.DELETE in repairs)
