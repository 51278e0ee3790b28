"""The verdict on lines, found in each way there is: they must be the same."""

import json
from collections.abc import Callable
from typing import Any

from filestead.decoders import DECODERS
from filestead.domain.jsonl.checks import LineChecks
from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.jsonl.kinds import ContentCheck
from filestead.domain.jsonl.members import LineFault
from filestead.domain.jsonl.report import LineFormat, LineReport


def reported(data: bytes, content: ContentCheck, *, hosted: bool = False) -> LineReport:
    checks = LineChecks(DECODERS, [content], hosted=hosted)
    checks.feed(data)
    checks.finish()
    return checks.report(content)


def fault_of(
    content: ContentCheck, line_format: Callable[[Decoders], LineFormat], *lines: dict[str, Any], hosted: bool = False
) -> str | None:
    """The fault of the last line; the others have none."""
    encoded = [json.dumps(line).encode() for line in lines]
    faults = {
        _by_members(line_format(DECODERS), [json.loads(line) for line in encoded]),
        _by_members(line_format(DECODERS), [DECODERS.members(line) for line in encoded]),
    }
    details = reported(b"\n".join(encoded), content, hosted=hosted).details
    faults.add(details and details.removeprefix(f"Line {len(lines)}: ").removesuffix("."))
    (fault,) = faults
    return fault


def _by_members(checks: LineFormat, lines: list[Any]) -> str | None:
    for number, line in enumerate(lines[:-1], 1):
        checks.check(number, line)
    try:
        checks.check(len(lines), lines[-1])
    except LineFault as fault:
        return str(fault)
    return None
