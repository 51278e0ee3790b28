"""Runs all checks on the rows."""

from sqlalchemy import Dialect
from sqlalchemy import text as literal_sql

from filestead.database.engines.statements import Connection, Statement, StatementSet
from filestead.database.repositories.checks.batches import batch_checks, find_journal_violations, journals
from filestead.database.repositories.checks.engines import SELF_CHECKS, self_violation
from filestead.database.repositories.checks.events import event_checks
from filestead.database.repositories.checks.files import file_checks, upload_checks
from filestead.database.repositories.checks.owners import id_checks, owner_checks
from filestead.database.repositories.checks.stores import orphaned_pgvectors, store_checks
from filestead.domain.integrity import Violation

ALL_CHECKS = (file_checks, upload_checks, store_checks, batch_checks, event_checks, owner_checks, id_checks)


class RowChecks(StatementSet):
    """All checks, each of which is one statement, and so sees the rows of one moment."""

    def __init__(self, dialect: Dialect) -> None:
        checks = [check for checks in ALL_CHECKS for check in checks()]
        self._checks = [(check, Statement(check.statement, dialect)) for check in checks]
        self._journals = Statement(journals(), dialect)
        self._self_checks = [
            (check, Statement(literal_sql(check[0]), dialect)) for check in SELF_CHECKS.get(dialect.name, ())
        ]
        self._has_pgvector = dialect.name == "postgresql"

    def find(self, connection: Connection) -> list[Violation]:
        """What is wrong."""
        found: list[Violation] = []
        for check, statement in self._checks:
            rows = statement(connection).fetchall()
            found += [
                Violation(check.invariant, check.severity, str(row[0]), check.meaning, check.remedy, check.repair)
                for row in rows
            ]
        found += find_journal_violations(self._journals(connection).fetchall())
        if self._has_pgvector:
            found += orphaned_pgvectors(connection)
        for self_check, statement in self._self_checks:
            for row in statement(connection).fetchall():
                finding = self_violation(self_check, row[0])
                found += [finding] if finding else []
        return found
