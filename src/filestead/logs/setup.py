"""Configures `logging` for a server."""

import logging
import sys

from filestead.logs.formats import TEXT, JsonFormatter, LogFormat


def choose_format(configured: LogFormat | None) -> LogFormat:
    """Return the configured format, or text on a terminal and JSON elsewhere."""
    return configured or ("text" if sys.stderr.isatty() else "json")


def configure(chosen: LogFormat, level: str) -> None:
    """Log to standard error, from this level (`debug`, `info`, `warning`, `error`) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if chosen == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
