"""An entry of the table `[[upstreams]]` of the configuration file: one model server, or several equal ones."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from filestead.domain.access import secret_fault
from filestead.egress import origin_of

TABLE = "upstreams"
DEFAULT_NAME = "default"
"""Of the endpoint that the variables name."""

MAX_CONCURRENCY = 4096
MAX_TIMEOUT_SECONDS = 86_400.0


def check_url(url: str) -> str:
    """Return the base URL of a server without a slash at its end. A `ValueError` says what is wrong with it."""
    origin_of(url)
    if "?" in url or "#" in url:
        raise ValueError("it must end with a path, as in https://models.example.org/v1")
    if not url.isascii() or any(character.isspace() for character in url):
        raise ValueError("it must consist of visible ASCII characters (an international name in its xn-- form)")
    return url.rstrip("/")


def check_key(key: SecretStr) -> SecretStr:
    """Return a key. A `ValueError` says what is wrong with it, without the key."""
    if fault := secret_fault(key.get_secret_value()):
        raise ValueError(fault)
    return key


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _field(default: Any, description: str, **limits: Any) -> Any:
    return Field(default, description=description, **limits)


class UpstreamEntry(BaseModel):
    """A model server for batches, and for requests that are passed on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = _field(
        ..., "Name in messages and in the log; letters, digits, `.`, `_` and `-`.", pattern=r"^[A-Za-z0-9._-]{1,64}$"
    )
    url: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = _field(
        ..., "Base URL, as in `https://models.example.org/v1`, or a list of those of equal servers.", min_length=1
    )
    api_key: SecretStr | None = _field(None, "API key for it.")
    api_key_file: Path | None = _field(None, "File that holds the key, instead of `api_key`.")
    models: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = _field(
        ("*",), "Models that are sent there: names, or patterns with `*` and `?`; default all.", min_length=1
    )
    max_concurrency: int | None = _field(
        None,
        "Maximum requests in flight for one model at one URL; default `FILESTEAD_UPSTREAM_MAX_CONCURRENCY`.",
        ge=1,
        le=MAX_CONCURRENCY,
    )
    timeout_seconds: float | None = _field(
        None,
        "Maximum seconds for the response to a line of a batch, and without a byte of the response to a request that "
        "is passed on; default `FILESTEAD_UPSTREAM_TIMEOUT`.",
        gt=0,
        le=MAX_TIMEOUT_SECONDS,
    )

    files: Literal["text", "data", "off"] = _field(
        "text",
        "How documents that a request names by their ids are sent: as `text`, as `data` (for models that read PDF), or "
        "not at all (`off`, which is about images, too).",
    )
    chat_ttft_p95: float | None = _field(
        None,
        "Target for the 95th percentile of the time to first token of interactive requests, in seconds: batches send "
        "fewer lines at a time while it is exceeded. While a batch runs and nobody chats, a chat of one token every 2 "
        "seconds measures it. Default: no target.",
        gt=0,
        le=MAX_TIMEOUT_SECONDS,
    )
    priority: Literal["auto", "on", "off"] = _field(
        "auto",
        "Whether lines of batches are sent with `priority`, so that vLLM runs other requests first: `auto` if the "
        "metrics show a vLLM, `on` for any server (SGLang orders the other way), `off` never. It is tried with one "
        "line, and not sent where it is refused.",
    )

    @field_validator("url")
    @classmethod
    def _check_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(map(check_url, urls))
        if len(set(found)) < len(found):
            raise ValueError("it lists the same URL twice: name each server once")
        return found

    @field_validator("models")
    @classmethod
    def _check_models(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        if not all(models):
            raise ValueError("a name must not be empty")
        return models

    @model_validator(mode="before")
    @classmethod
    def _read_key(cls, values: Any) -> Any:
        if not isinstance(values, dict) or (path := values.get("api_key_file")) is None:
            return values
        if values.get("api_key") is not None:
            raise ValueError("it has both api_key and api_key_file: leave one out")
        try:
            return {**values, "api_key": Path(path).read_text(encoding="utf-8").strip()}
        except (OSError, TypeError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not a text file"
            raise ValueError(f"cannot read the api_key_file {path}: {reason}") from None

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        return None if key is None else check_key(key)


def names_fault(names: list[str]) -> str | None:
    """What is wrong with the names of all endpoints; None if nothing is."""
    for name in names:
        if names.count(name) > 1:
            return f"{TABLE}: two endpoints have the name {name}: choose another one"
    return None


def describe_error(error: dict[str, Any], entries: list[Any]) -> str:
    """The message for an error in the table, as pydantic reports it: it names the entry, and never a key."""
    location = list(error["loc"])[1:]
    if not location:
        return f"{TABLE}: write each endpoint as a table [[{TABLE}]] with name and url"
    number = int(location[0])
    entry = entries[number] if number < len(entries) else None
    name = entry.get("name") if isinstance(entry, dict) else None
    where = f"{TABLE}, entry {number + 1}" + (f" ({name})" if isinstance(name, str) else "")
    member = str(location[1]) if len(location) > 1 else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{where}: {member} is missing"
    if error["type"] == "extra_forbidden":
        return f"{where}: {member} is not a key of it; they are {', '.join(UpstreamEntry.model_fields)}"
    is_secret = member in {"", "api_key"} or "@" in str(error.get("input"))
    value = "" if is_secret else f" {error.get('input')!r}"
    return f"{where}: {f'invalid value{value} for {member}: ' if member else ''}{message}"


def markdown() -> list[str]:
    """The section of docs/configuration.md on the table."""
    lines = [
        "",
        "## Several model servers",
        "",
        "The configuration file can name more model servers than `FILESTEAD_UPSTREAM_URL`, each as a table",
        f"`[[{TABLE}]]`. A request is sent to one whose `models` match. A list of URLs names equal servers; requests",
        "with the same beginning stay on one of them. `filestead upstreams` checks all servers.",
        "",
        "```toml",
        f"[[{TABLE}]]",
        'name = "gpu"',
        'url = ["http://10.0.0.5:8000/v1", "http://10.0.0.6:8000/v1"]',
        'models = ["llama-*"]',
        "",
        f"[[{TABLE}]]",
        'name = "hosted"',
        'url = "https://models.example.org/v1"',
        'api_key_file = "/run/secrets/models-key"',
        'models = ["large", "embed-*"]',
        "max_concurrency = 32",
        "```",
        "",
        "| key | meaning |",
        "| --- | --- |",
    ]
    return lines + [f"| `{name}` | {field.description} |" for name, field in UpstreamEntry.model_fields.items()]
