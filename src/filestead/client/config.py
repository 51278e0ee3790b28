"""Settings of a client: from arguments, else the environment variables of the official SDKs, else defaults."""

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from filestead import __version__
from filestead.client.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx2

DEFAULT_BASE_URL = "http://127.0.0.1:8080/v1"
DEFAULT_TIMEOUT_SECONDS = 600.0
CONNECT_TIMEOUT_SECONDS = 5.0
MAX_RETRIES = 2
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
PARTS_ABOVE_BYTES = 64 * 1024 * 1024
"""A larger file is sent in parts, where the server has uploads in parts."""
PART_BYTES = 16 * 1024 * 1024
"""Of one part. A smaller file is never sent in parts."""
PARALLEL_PARTS = 4
"""Parts of one upload in progress at a time."""

Headers = tuple[tuple[str, str], ...]
ExpiresAfter = int | Mapping[str, object] | None
"""Seconds from creation, or `{"anchor": "created_at", "seconds": n}`."""
OnProgress = Callable[[int, int | None], None]
"""Called with the bytes of a file sent or received and its size, None if unknown; goes back with a retry."""


@dataclass(frozen=True, slots=True)
class Config:
    """Validated settings. `headers` are sent with every request to the origin of `base_url`, and to no other."""

    base_url: str
    """Scheme, host and path, without a trailing slash or a query."""
    headers: Headers = ()
    timeout: "float | httpx2.Timeout | None" = DEFAULT_TIMEOUT_SECONDS
    """Seconds for each connect, read and write; by default 5 for a connect and 600 for the others."""
    max_retries: int = MAX_RETRIES
    max_response_bytes: int = MAX_RESPONSE_BYTES
    """Of a decoded JSON response; the content of a file is not limited."""
    user_agent: str = f"filestead-python/{__version__}"


def configure(
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    timeout: "float | httpx2.Timeout | None" = DEFAULT_TIMEOUT_SECONDS,
    max_retries: int = MAX_RETRIES,
    max_response_bytes: int = MAX_RESPONSE_BYTES,
    default_headers: Mapping[str, str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Validate the settings; those that are None are read from the environment.

    The variables are OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS
    (`Name: value` lines). An empty key or base URL counts as unset. Without a key, no Authorization header is sent.

    Raises `ConfigurationError` for a base URL or header that cannot be used.
    """
    if base_url is not None:
        url = parse_base_url(base_url, "base_url")
    elif environ.get("OPENAI_BASE_URL"):
        url = parse_base_url(environ["OPENAI_BASE_URL"], "OPENAI_BASE_URL")
    else:
        url = DEFAULT_BASE_URL
    key = environ.get("OPENAI_API_KEY") if api_key is None else api_key
    url, basic = _split_credentials(url)
    candidates = (
        ("Authorization", f"Bearer {key}" if key else basic),
        ("OpenAI-Organization", environ.get("OPENAI_ORG_ID") if organization is None else organization),
        ("OpenAI-Project", environ.get("OPENAI_PROJECT_ID") if project is None else project),
    )
    headers = [(name, value) for name, value in candidates if value is not None]
    headers = merge_headers(headers, parse_headers(environ.get("OPENAI_CUSTOM_HEADERS", "")))
    headers = merge_headers(headers, tuple((default_headers or {}).items()))
    for name, value in headers:
        _check_header(name, value)
    if max_retries < 0:
        raise ConfigurationError(f"max_retries {max_retries} is negative")
    if max_response_bytes < 1:
        raise ConfigurationError(f"max_response_bytes {max_response_bytes} is not positive")
    return Config(url, tuple(headers), timeout, max_retries, max_response_bytes)


def parse_base_url(value: str, origin: str) -> str:
    """A base URL without its query and trailing slash; `origin` is the argument or variable that an error names."""
    text = value.strip()
    if not text.lower().startswith(("http://", "https://")):
        raise ConfigurationError(f'{origin} "{value}" is missing a scheme (expected http:// or https://)')
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(f'{origin} "{value}" is not a URL with a host and a valid port')
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _split_credentials(url: str) -> tuple[str, str | None]:
    """A URL without credentials, and the Authorization header for those it had; an API key has precedence."""
    parts = urlsplit(url)
    user, found, host = parts.netloc.rpartition("@")
    basic = "Basic " + base64.b64encode(unquote(user).encode()).decode() if found else None
    return parts._replace(netloc=host).geturl(), basic


def parse_headers(text: str) -> Headers:
    """`Name: value` lines; lines without a colon or a name are skipped, as the official SDKs do."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return tuple((name.strip(), value.strip()) for name, value in pairs if name.strip())


def merge_headers(headers: list[tuple[str, str]], later: Headers) -> list[tuple[str, str]]:
    """`headers` and `later`; the latter replace headers of the same name, in any case."""
    names = {name.lower() for name, _ in later}
    return [pair for pair in headers if pair[0].lower() not in names] + list(later)


def _check_header(name: str, value: str) -> None:
    """Raise for what would be sent as another header; the value may be a secret and is not shown."""
    if not name.isascii() or not name.isprintable() or " " in name or ":" in name:
        raise ConfigurationError(f"header name {name!r} cannot be sent")
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ConfigurationError(f"the value of header {name} has characters that cannot be sent")
