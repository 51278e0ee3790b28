"""An installation, rows and blobs together: embedded in one data directory, or shared by any number of nodes."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from filestead.domain.observation import UNOBSERVED, Observer
from filestead.installation.backends import Backends, new_id
from filestead.installation.embedded import DATABASE, EmbeddedInstallation
from filestead.installation.keys import DEFAULT_NAME, FIRST_KEY_FILE, create_key
from filestead.installation.shared import COMMAND_TIMEOUT_SECONDS, SharedInstallation
from filestead.settings import Settings

__all__ = [
    "COMMAND_TIMEOUT_SECONDS",
    "DATABASE",
    "DEFAULT_NAME",
    "FIRST_KEY_FILE",
    "Backends",
    "EmbeddedInstallation",
    "Installation",
    "SharedInstallation",
    "create_key",
    "from_settings",
    "new_id",
]


class Installation(Protocol):
    """An installation that may not exist yet. Every method may raise `CannotStart`, which names the remedy."""

    @property
    def location(self) -> str:
        """Where it is; two objects with the same location are the same installation."""

    def is_locked(self) -> bool:
        """Whether a running server owns the installation."""

    def prepare(self, *, create: bool = True) -> AbstractContextManager[None]:
        """Create or check the installation, and own it within the block as far as one process can own it.

        An embedded installation is created (unless `create` is false), migrated and locked. A shared one must have
        been migrated (`migrate`).
        """

    def migrate(self, *, wait_seconds: float = 0) -> str:
        """Migrate the database to the schema of this version; return a sentence with the result."""

    def bootstrap(self, key_file: Path | None = None) -> str | None:
        """The work of a server between `prepare` and its first request; return the secret of a key that it created.

        The first key is written to `key_file`, if one is given. Of shared nodes that start at once, one creates it.
        """

    def open(self, *, operation_timeout: float | None = None, observer: Observer = UNOBSERVED) -> Backends:
        """Open a prepared installation. `operation_timeout` replaces the server's limit, where operations have one."""

    def open_for_command(self, *, create: bool = False) -> Backends:
        """Check or migrate the installation, unless a running server has done so, and open it without a time limit.

        `create` creates an embedded installation that does not exist.
        """


def from_settings(settings: Settings) -> Installation:
    """The installation that the settings name."""
    return EmbeddedInstallation(settings) if settings.database_url is None else SharedInstallation(settings)
