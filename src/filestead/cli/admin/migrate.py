"""`filestead migrate`: the schema of a shared installation."""

from typing import Annotated

from cyclopts import Parameter

from filestead import installation, settings


def migrate(*, wait: Annotated[float, Parameter(negative="")] = 0) -> int:
    """Bring the database to this version's schema, and make the installation if there is none yet.

    Any number may run at once; one of them works and the others wait. An embedded installation migrates by itself when
    it is served. Run it before nodes of a new version start; nodes of the version before go on serving.

    Parameters
    ----------
    wait
        Seconds to wait for the database and the store to come up.
    """
    print(installation.from_settings(settings.load()).migrate(wait_seconds=wait))
    return 0
