"""`filestead audit`: shows the audit log of an installation, and checks its hash chain."""

import asyncio
import contextlib
import json
import time
from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter, validators

from filestead import installation, settings
from filestead.cli.terminal.escaping import guard_standard_streams
from filestead.domain.audit.chain import find_broken
from filestead.domain.audit.events import Chain, RecordedEvent, event_id
from filestead.domain.integrity import Violation
from filestead.installation import COMMAND_TIMEOUT_SECONDS, Backends

EXIT_BROKEN = 1

audit = App(name="audit", help="Show the audit log, and check that it was not changed.")
Json = Annotated[bool, Parameter(name="--json", negative="")]


@audit.command(name="list")
def list_(
    *,
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=100_000))] = 100,
    json_: Json = False,
    data_dir: str | None = None,
) -> None:
    """List the newest events of all organizations, newest first, also those that no administrator sees.

    Example: filestead audit list --limit 1000 --json

    Parameters
    ----------
    limit
        The largest number of events.
    json_
        Print one JSON object per line, with all that is stored of an event.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """

    async def run() -> list[RecordedEvent]:
        with _opened(data_dir) as backends:
            return await backends.audit.tail(limit)

    guard_standard_streams()
    for event in asyncio.run(run()):
        print(json.dumps(asdict(event)) if json_ else _line(event))


def _line(event: RecordedEvent) -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.effective_at))
    data = json.loads(event.data) if event.data else {}
    about = [event.resource_id, *(f"{name}={_text(value)}" for name, value in data.items())]
    sender = [event.key_id, event.address, event.request_id]
    return "  ".join([at, event.type, *filter(None, about), *(["by", *filter(None, sender)] if any(sender) else [])])


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@audit.command
def verify(*, json_: Json = False, data_dir: str | None = None) -> int:
    """Recompute the hash chain of the audit log. Read-only; a server may be running.

    Prints the number of the last event and its hash: whoever keeps them elsewhere can tell later whether the whole
    chain was replaced. Exit status: 0 if the chain is intact; 1 if not, and the first broken event is named.

    Parameters
    ----------
    json_
        Print a JSON object.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """

    async def run() -> tuple[Violation | None, Chain]:
        with _opened(data_dir) as backends:
            return await find_broken(backends.audit)

    broken, chain = asyncio.run(run())
    if json_:
        print(json.dumps({"intact": broken is None, "broken": broken and asdict(broken), **asdict(chain)}))
    elif broken is not None:
        print(f"{broken.subject}: {broken.evidence}; {broken.remedy}")
    else:
        count = chain.last_sequence - chain.anchor_sequence
        last = f", the last one {event_id(chain.last_sequence)} with the hash {chain.last_hash}" if count else ""
        print(f"{count} events are intact{last}")
    return 0 if broken is None else EXIT_BROKEN


def _opened(data_dir: str | None) -> "contextlib.closing[Backends]":
    found = installation.from_settings(settings.load(data_dir=data_dir))
    return contextlib.closing(found.open(operation_timeout=COMMAND_TIMEOUT_SECONDS))
