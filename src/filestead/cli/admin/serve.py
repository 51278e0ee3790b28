"""`filestead serve`: a flag for each setting but the secret ones."""

import inspect
from typing import Annotated, Any

from cyclopts import Parameter

from filestead import settings
from filestead.cli.admin import serving


def serve(**flags: Any) -> None:
    """Serve the OpenAI Files API.

    In an empty data directory, this creates an installation and its first key, which is printed once if standard output
    is a terminal. Otherwise it is written to the file `first-key` in the data directory, unless --print-key is given.

    Exit status: 0 after SIGTERM, 1 for an unusable command line, 78 if a setting or the data directory is wrong. Ctrl-C
    ends the server as SIGINT does.

    Every flag is also an environment variable and a key of the TOML file that FILESTEAD_CONFIG names.
    Secrets come from the environment only: FILESTEAD_BOOTSTRAP_KEY, FILESTEAD_DATABASE_URL and
    FILESTEAD_UPSTREAM_API_KEY, or the same with _FILE for the name of a file that holds it.
    """
    serving.serve(flags)


def _flags() -> inspect.Signature:
    """The flags as the settings table has them; values stay text, and the table turns them into what they are."""
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                bool | None if settings.is_switch(name) else str | None,
                Parameter(help=help_text, show_default=False, negative=""),
            ],
        )
        for name, help_text in settings.flags()
    ]
    return inspect.Signature(parameters)


serve.__signature__ = _flags()  # type: ignore[attr-defined]
