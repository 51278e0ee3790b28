"""Secrets that no server may tell: whatever a test gives to a server is searched in its log, and errors in its responses.

`Server` does so for every server of the whole run. Add a secret that is made later, such as a key, with `plant`.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2

from filestead.settings import Settings, variable

MIN_CHARACTERS = 10
"""Shorter ones, such as a key that is a word, could be in a log by chance."""
SECRET = [variable(name) for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
AWS = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
INTERNALS = re.compile(
    r"Traceback|\.py\b|/site-packages/|sqlite3?\.|psycopg|sqlalchemy|\bSELECT .* FROM\b|\bINSERT INTO\b|\bUPDATE \w+ SET\b"
    r"|<[\w.]+ object at 0x",
    re.IGNORECASE,
)
"""What an error response must not say (`/v1/files` and the like are no paths of the machine)."""

_planted: dict[Path, set[str]] = {}


def plant(data_dir: Path, secret: str) -> None:
    """From now on the servers on this data directory must not log the secret."""
    _planted.setdefault(data_dir, set()).add(secret)


def secrets_of(environment: Mapping[str, str], data_dir: Path) -> set[str]:
    """What a server with this environment knows and must not tell."""
    found = {environment[name] for name in (*SECRET, *AWS) if name in environment}
    for name in (*SECRET, *AWS):
        path = Path(environment.get(f"{name}_FILE", ""))
        if path.is_file():
            found.add(path.read_text().strip())
    if config := environment.get("FILESTEAD_CONFIG"):
        upstreams = tomllib.loads(Path(config).read_text()).get("upstreams", [])
        found |= {upstream["api_key"] for upstream in upstreams if "api_key" in upstream}
    found |= {unquote(urlsplit(each).password or "") for each in found if "://" in each}
    found |= _planted.get(data_dir, set())
    return {each for each in found if len(each) >= MIN_CHARACTERS and "://" not in each}


def assert_absent(log: str, secrets: set[str]) -> None:
    """Fail if a line of the log has one of the secrets."""
    lines = [line for line in log.splitlines() if any(secret in line for secret in secrets)]
    assert lines == [], f"the log has a secret: {lines[0][:500] if lines else ''}"


def check_error(response: httpx2.Response) -> None:
    """A hook of clients: fail if an error response tells of the inside of the server."""
    if response.status_code < 400 or not response.headers.get("content-type", "").startswith("application/json"):
        return
    found = INTERNALS.search(response.read().decode())
    assert found is None, f"an error response says {found and found[0]!r}: {response.text[:500]}"
