"""Checks of the database itself: whether it is intact, and whether it does what it was told to do."""

from collections.abc import Callable
from typing import Any

from filestead.domain.integrity import Violation

SelfCheck = tuple[str, Callable[[Any], bool], str, str]
"""A statement, whether a row of it is as it should be, the evidence for one that is not (`{}`), and the remedy."""

RESTORE = "restore the last backup"
ACKNOWLEDGED = "report this: a power failure could lose what was acknowledged"

SELF_CHECKS: dict[str, tuple[SelfCheck, ...]] = {
    "sqlite": (
        ("PRAGMA integrity_check", lambda found: found == "ok", "PRAGMA integrity_check: {}", RESTORE),
        ("PRAGMA foreign_key_check", lambda found: False, "PRAGMA foreign_key_check: {}", RESTORE),
        ("PRAGMA journal_mode", lambda found: found == "wal", "the journal mode is {} instead of wal", ACKNOWLEDGED),
        ("PRAGMA synchronous", lambda found: found == 2, "synchronous is {} instead of 2 (FULL)", ACKNOWLEDGED),
    ),
    "postgresql": (
        (
            "SELECT current_setting('synchronous_commit')",
            lambda found: found != "off",
            "synchronous_commit is {}",
            "ALTER ROLE ... SET synchronous_commit = on: a crash could lose what was acknowledged",
        ),
        (
            "SELECT coalesce(checksum_failures, 0) FROM pg_stat_database WHERE datname = current_database()",
            lambda found: found == 0,
            "PostgreSQL has found {} damaged pages",
            RESTORE,
        ),
        (
            "SELECT conrelid::regclass || '.' || conname FROM pg_constraint "
            "WHERE NOT convalidated AND connamespace = current_schema()::regnamespace",
            lambda found: False,
            "the constraint {} is not checked for rows that were there before",
            "ALTER TABLE ... VALIDATE CONSTRAINT ..., and report this",
        ),
        (
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid "
            "WHERE indisunique AND NOT indisvalid AND relnamespace = current_schema()::regnamespace",
            lambda found: False,
            "the index {} is not valid, so that nothing keeps its keys unique",
            "REINDEX INDEX ..., and report this",
        ),
    ),
}


def self_violation(check: SelfCheck, found: Any) -> Violation | None:
    """The finding about the first column of a row of such a statement, if it is not as it should be."""
    _, is_sound, evidence, remedy = check
    return None if is_sound(found) else Violation("I-18", "A", "database", evidence.format(found), remedy)
