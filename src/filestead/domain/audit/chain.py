"""The hash chain of the audit log: each sealed event holds the hash of all before it."""

import hashlib
import json
from dataclasses import fields

from filestead.domain.audit.events import AuditLog, Chain, RecordedEvent
from filestead.domain.integrity import Violation

PAGE = 1_000
INVARIANT = "I-16"
REMEDY = "compare the log with a copy of it elsewhere: someone has changed rows of the database, or report this"

_PROTECTED = sorted({field.name for field in fields(RecordedEvent)} - {"hash"})
_CANONICAL = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True)
"""The members are in the order of their names."""


def link(previous: str, event: RecordedEvent) -> str:
    """The hash of an event: SHA-256 of the previous hash and of the event as canonical JSON, in hexadecimal.

    The previous hash is empty for the first event.
    """
    text = _CANONICAL.encode({name: getattr(event, name) for name in _PROTECTED})
    return hashlib.sha256((previous + text).encode()).hexdigest()


async def find_broken(log: AuditLog) -> tuple[Violation | None, Chain]:
    """Recompute the whole chain; return the first finding, if any, and the state that the chain should have.

    Events that are sealed or pruned meanwhile are no findings.
    """
    while True:
        before = await log.chain()
        finding = await _check(log, before)
        after = await log.chain()
        if finding is None or after.anchor_sequence == before.anchor_sequence:
            return finding, before


async def _check(log: AuditLog, chain: Chain) -> Violation | None:
    sequence, previous = chain.anchor_sequence, chain.anchor_hash
    while sequence < chain.last_sequence:
        page = (await log.scan(sequence, PAGE))[: chain.last_sequence - sequence]
        if not page:
            return _broken(sequence + 1, "the event is missing")
        for event in page:
            if event.sequence != sequence + 1:
                return _broken(sequence + 1, "the event is missing")
            if event.hash != link(previous, event):
                return _broken(event.sequence, "the event, or the hash before it, was changed after it was sealed")
            sequence, previous = event.sequence, event.hash
    if previous != chain.last_hash:
        return _broken(sequence, "the hash of the last event is not the last one of the chain")
    beyond = await log.scan(chain.last_sequence, 1)
    if beyond and (beyond[0].sequence or 0) > (await log.chain()).last_sequence:
        return _broken(chain.last_sequence + 1, "there are sealed events behind the end of the chain")
    return None


def _broken(sequence: int, sentence: str) -> Violation:
    return Violation(INVARIANT, "A", f"audit event {sequence}", sentence, REMEDY)
