"""Secrets that nothing may tell: whatever a test gives to a server, and every key that is made.

They are searched in the logs of all servers of a run, in the output of commands (`run_command`), in metrics that the
client of a `Server` reads, and in spans (`OtlpReceiver`); errors in responses of servers, too. Keys that a command or
the client of a `Server` has made are known, and others by their form.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
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

NEW_KEY = re.compile(r"sk-[\w-]{43}(?![\w-])")
"""A key that Filestead has made, whoever has asked for it."""

_planted: dict[Path, set[str]] = {}
_known: set[str] = set()
"""The secrets of all servers so far, for spans, which may be of any."""


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
    secrets = {each for each in found if len(each) >= MIN_CHARACTERS and "://" not in each}
    _known.update(secrets)
    return secrets


def secrets_of_all() -> set[str]:
    """What any server of this run knows."""
    return _known.union(*_planted.values())


def assert_absent(text: str, secrets: set[str], *, what: str = "the log", shows_key: bool = False) -> None:
    """Fail if a line of a text has one of the secrets, or a new key, unless it is there to show one."""
    lines = [
        line
        for line in text.splitlines()
        if any(secret in line for secret in secrets) or (not shows_key and NEW_KEY.search(line))
    ]
    assert lines == [], f"{what} has a secret: {lines[0][:500] if lines else ''}"


def watch(data_dir: Path) -> Callable[[httpx2.Response], None]:
    """A hook of the client of a server: plants the keys that it makes, and searches the metrics that it reads."""

    def look(response: httpx2.Response) -> None:
        path = response.request.url.path
        if response.request.method == "POST" and path.startswith("/v1/organization/") and response.status_code == 200:
            for key in NEW_KEY.findall(response.read().decode()):
                plant(data_dir, key)
        elif path.endswith("/metrics"):
            assert_absent(response.read().decode(), secrets_of_all(), what="a metric")

    return look


def check_error(response: httpx2.Response) -> None:
    """A hook of clients: fail if an error response tells of the inside of the server."""
    if response.status_code < 400 or not response.headers.get("content-type", "").startswith("application/json"):
        return
    found = INTERNALS.search(response.read().decode())
    assert found is None, f"an error response says {found and found[0]!r}: {response.text[:500]}"
