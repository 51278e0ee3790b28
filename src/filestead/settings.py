"""The table of settings. Environment, configuration file and flags are read here and nowhere else.

The table defines the environment variables (`FILESTEAD_*`), the keys of the TOML file, the flags of `serve`, and
docs/configuration.md. An unknown name is an error, so that a typing mistake cannot disable a setting.
"""

import base64
import os
import re
import shlex
import tomllib
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from filestead import endpoint_settings
from filestead.domain.errors import CannotStart
from filestead.egress import origin_of
from filestead.endpoint_settings import DEFAULT_NAME, MAX_CONCURRENCY, MAX_TIMEOUT_SECONDS, UpstreamEntry

PREFIX = "FILESTEAD_"
KIB = 1024
MIB = 1024**2
TIB = 1024**4
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
WINDOW = re.compile(r"[1-9][0-9]{0,3}[mhd]")
PATH = re.compile(r"/v1(/[A-Za-z0-9._~-]+)+(/\*)?")
OUR_PATHS = ("/v1/files", "/v1/vector_stores", "/v1/batches", "/v1/uploads")
UNIT_SECONDS = {"m": 60, "h": 3_600, "d": 86_400}
MIN_WEBHOOK_SECRET_BYTES = 24
"""As the specification of Standard Webhooks demands."""
SWITCH = "switch"
"""Unit of a setting whose flag has no value."""
TABLES = "tables"
"""Unit of a setting that only the configuration file can hold."""
RESERVED_VARIABLES = {f"{PREFIX}CONFIG", f"{PREFIX}CONFORMANCE_DATA"}
"""Variables with our prefix that are not settings: the path of the configuration file, and the data of the tests."""

REQUIRES = {
    "blob_url": ("database_url", "with SQLite, file contents are in the data directory"),
    "s3_endpoint": ("blob_url", "it names the bucket at that address"),
    "download_redirect": ("blob_url", "downloads can only be redirected to an S3-compatible store"),
    "upstream_api_key": ("upstream_url", "it is sent to that server alone"),
    "upstream_chat_ttft_p95": ("upstream_url", "it is a target for that server"),
    "webhook_url": ("webhook_secret", "receivers must be able to tell who sent a report"),
    "webhook_secret": ("webhook_url", "reports are sent there"),
    "webhook_private": ("webhook_url", "it is about that address"),
}
"""Settings without effect unless another one is set, and the reason."""


def _setting(default: Any, unit: str, description: str, **limits: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"unit": unit}, **limits)


class Settings(BaseSettings):
    """The settings of a server. A size is a number of bytes or a text such as `512MiB`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    data_dir: Path = _setting(Path("data"), "directory", "Directory that holds the database and the files.")
    host: str = _setting("127.0.0.1", "address", "Address to listen on.")
    port: int = _setting(8080, "port", "Port to listen on; 0 selects a free one.", ge=0, le=65535)
    workers: int = _setting(1, "processes", "Number of server processes on this machine.", ge=1, le=64)
    bootstrap_key: SecretStr | None = _setting(
        None,
        "key",
        "API key of your choice for the default project: printable ASCII, in which spaces are allowed. Each start adds "
        "it if it does not exist, also to an existing installation. It stays valid without this setting until "
        "`filestead keys revoke`.",
    )
    print_key: bool = _setting(
        False,
        SWITCH,
        "Print the first key even if standard output is not a terminal. Without this, it is then written to the file "
        "`first-key` (mode 0600) in the data directory.",
    )
    database_url: SecretStr | None = _setting(
        None,
        "URL",
        "PostgreSQL database for everything but file contents, as in `postgresql://user:password@host/name`. Without "
        "it, SQLite in the data directory is used.",
    )
    database_connections: int = _setting(
        8,
        "connections",
        "PostgreSQL connections of one process that have a thread each. One more reads single rows.",
        ge=2,
        le=100,
    )
    blob_url: str | None = _setting(
        None,
        "URL",
        "S3-compatible store for file contents, as in `s3://bucket/prefix`; requires PostgreSQL. Without it, they are "
        "in the data directory, which all nodes must then share.",
    )
    s3_endpoint: str | None = _setting(
        None, "URL", "Address of an S3-compatible store other than Amazon S3. The bucket is then part of the path."
    )
    download_redirect: bool = _setting(
        False, "boolean", "Respond to downloads from S3 with a redirect to a link that is signed for a few minutes."
    )
    allow_link_local: bool = _setting(
        False,
        "boolean",
        "Allow the server to connect to link-local addresses (169.254.0.0/16, fe80::/10) and to metadata services of "
        "clouds, for example to obtain the credentials of an instance role.",
    )
    max_file_bytes: ByteSize = _setting(ByteSize(512 * MIB), "bytes", "Maximum size of a file.", ge=1)
    max_batch_file_bytes: ByteSize = _setting(
        ByteSize(200 * MIB), "bytes", "Maximum size of a file with the purpose `batch`.", ge=1
    )
    max_upload_bytes: ByteSize = _setting(
        ByteSize(8192 * MIB), "bytes", "Maximum size of a file that is uploaded in parts, whatever its purpose.", ge=1
    )
    inline_bytes: ByteSize = _setting(
        ByteSize(16 * KIB),
        "bytes",
        "Uploads whose request, with its form and a declared length, has at most so many bytes are stored in the "
        "database instead of the blob store, which makes them several times as fast; 0 stores all in the blob store. "
        "Files that are stored already stay where they are.",
        ge=0,
        le=64 * KIB,
    )
    project_quota_bytes: ByteSize = _setting(
        ByteSize(5 * TIB // 2), "bytes", "Maximum total size of all files of one project; 0 means no limit."
    )
    organization_quota_bytes: ByteSize = _setting(
        ByteSize(0), "bytes", "Maximum total size of all files of one organization; 0 means no limit."
    )
    uploads_per_minute: int = _setting(
        1000, "uploads per minute", "Upload rate of one user; 0 means no limit.", ge=0, le=1_000_000
    )
    match_retries: bool = _setting(
        True,
        "boolean",
        "Recognize requests that official clients send again, as `X-Stainless-Retry-Count` says: the creation of a "
        "file, a batch or a vector store then gets that of the earlier attempt, and a deletion of a file or a vector "
        "store succeeds again.",
    )
    attached_files_per_minute: int = _setting(
        2000,
        "files per minute",
        "Rate at which one organization attaches files to vector stores; 0 means no limit.",
        ge=0,
        le=1_000_000,
    )
    role: Literal["all", "api", "worker"] = _setting(
        "all",
        "mode",
        "What this server does: `api` serves requests, `worker` runs jobs such as indexing (and serves only health "
        "checks), `all` does both.",
    )
    indexing_processes: int = _setting(
        1,
        "processes",
        "Sandboxed processes of one server process that index at a time. Each indexes one file, or small plain texts "
        "of one project together.",
        ge=1,
        le=64,
    )
    max_indexed_tokens: int = _setting(
        2_000_000, "tokens", "Maximum size of the text of a file in a vector store.", ge=1_000, le=50_000_000
    )
    indexing_memory: ByteSize = _setting(
        ByteSize(256 * MIB), "bytes", "Maximum memory for indexing one file; a file that needs more fails.", ge=64 * MIB
    )
    indexing_seconds: float = _setting(
        300.0, "seconds", "Maximum time for indexing one file; a file that needs more fails.", gt=0
    )
    embeddings: Literal["off", "local", "upstream"] = _setting(
        "off",
        "mode",
        "Whether vector stores are also searched by meaning: `local` uses static vectors (the extra `search`, no "
        "network), `upstream` asks the OpenAI-compatible server at `FILESTEAD_UPSTREAM_URL`. All nodes need the same "
        "value.",
    )
    embeddings_model: str | None = _setting(
        None, "name", "Model of that server whose embeddings are used, as in `text-embedding-3-small`."
    )
    embeddings_cache: ByteSize = _setting(
        ByteSize(512 * MIB),
        "bytes",
        "Memory of one process for vectors of the stores that were searched last, with SQLite only. Larger stores are "
        "read anew by each search.",
        ge=MIB,
    )
    upstream_url: str | None = _setting(
        None,
        "URL",
        "OpenAI-compatible server that runs models, for batches, embeddings and requests that are passed on, as in "
        "`https://models.example.org/v1`; no redirects are followed. The configuration file can name more; without any "
        "server, no batch can be created, and there are no models.",
    )
    upstream_api_key: SecretStr | None = _setting(None, "key", "API key for that server.")
    upstream_timeout: float = _setting(
        600.0,
        "seconds",
        "Maximum time for the response to one line of a batch, and without a byte of the response to a request that is "
        "passed on.",
        gt=0,
        le=MAX_TIMEOUT_SECONDS,
    )
    upstream_max_concurrency: int = _setting(
        256,
        "requests",
        "Maximum requests of batches in flight to one server for one model. The number that it handles well is found "
        "while batches run.",
        ge=1,
        le=MAX_CONCURRENCY,
    )
    upstreams: tuple[UpstreamEntry, ...] = _setting(
        (), TABLES, "More OpenAI-compatible servers, in the configuration file only."
    )
    upstream_files: Literal["text", "data", "off"] = _setting(
        "text",
        "mode",
        "How documents that a request names by their ids are sent to that server: as `text`, as `data` (for models "
        "that read PDF), or not at all (`off`, which is about images, too).",
    )
    upstream_chat_ttft_p95: float | None = _setting(
        None,
        "seconds",
        "Target for the 95th percentile of the time to first token of interactive requests at that server: batches "
        "send fewer lines at a time while it is exceeded. While a batch runs and nobody chats, a chat of one token "
        "every 2 seconds measures it. Without it, there is no target.",
        gt=0,
        le=MAX_TIMEOUT_SECONDS,
    )
    upstream_priority: Literal["auto", "on", "off"] = _setting(
        "auto",
        "mode",
        "Whether lines of batches are sent to that server with `priority`, so that vLLM runs other requests first: "
        "`auto` if its metrics show a vLLM, `on` for any server (SGLang orders the other way), `off` never. It is "
        "tried with one line, and not sent where it is refused.",
    )
    reference_tokens: int = _setting(
        200_000,
        "tokens",
        "Maximum size of the texts of all documents that one request to a model names by their ids.",
        ge=100,
        le=10_000_000,
    )
    pass_through: Literal["on", "off"] = _setting(
        "on",
        "mode",
        "Whether requests for models, such as `/v1/chat/completions`, are passed on to the configured servers.",
    )
    pass_through_paths: str | None = _setting(
        None,
        "paths",
        "More paths whose POST requests are passed on, separated by commas; a star at the end stands for anything: "
        "`/v1/tokenize, /v1/tools/*`.",
    )
    batch_models: Literal["any", "single"] = _setting(
        "any",
        "mode",
        "Whether the lines of a batch may name several models: `any`, or `single` as the hosted service requires.",
    )
    batch_windows: str = _setting(
        "24h",
        "durations",
        "Values of `completion_window` that a batch may have, separated by commas, in minutes (`m`), hours (`h`) or "
        "days (`d`): `24h, 7d`. A batch that has not ended by then expires.",
    )
    batch_order: Literal["prefix", "input"] = _setting(
        "prefix",
        "mode",
        "Order in which the lines of a batch are sent: `prefix` puts those together that begin alike, for the prefix "
        "cache of the model server; `input` keeps the order of the file.",
    )
    batch_cancel_seconds: float = _setting(
        30.0, "seconds", "How long a cancelled batch waits for the lines that are in flight.", ge=0, le=3_600
    )
    batches_per_hour: int = _setting(
        2000, "batches per hour", "Rate at which one project creates batches; 0 means no limit.", ge=0, le=1_000_000
    )
    webhook_url: str | None = _setting(
        None, "URL", "Where the end of each batch is reported, as in `https://app.example.org/hook`."
    )
    webhook_secret: SecretStr | None = _setting(
        None, "key", "Secret with which those reports are signed (Standard Webhooks): `whsec_` and base64."
    )
    webhook_private: bool = _setting(
        False, "boolean", "Allow the webhook to be at a private address, such as 10.0.0.5 or localhost."
    )
    validation: Literal["openai", "advise", "strict", "hosted"] = _setting(
        "advise",
        "mode",
        "How JSONL files with invalid lines are handled: `openai` rejects what the hosted service rejects at upload; "
        "`advise` also checks every line and reports the first error in `status_details`; `strict` rejects such files; "
        "`hosted` is `strict` with the rules of the hosted batch runner: only its endpoints, and one model per file.",
    )
    downloads: Literal["all", "openai"] = _setting(
        "all", "mode", "Purposes that can be downloaded: `all`, or only those that the hosted service allows."
    )
    batch_expiry_seconds: int = _setting(
        2_592_000, "seconds", "Default expiry of `batch` files uploaded without `expires_after`; 0 disables it.", ge=0
    )
    sweep_seconds: float = _setting(
        60.0, "seconds", "Interval at which the contents of expired and deleted files are removed.", gt=0
    )
    sweep_quarantine: int = _setting(
        86_400,
        "seconds",
        "After a forward jump of the clock, how long the clock must be steady before files that expired by the jump "
        "are removed; 0 removes them immediately.",
        ge=0,
    )
    audit_retention: int = _setting(
        365, "days", "How long events of the audit log are kept; 0 keeps them for ever.", ge=0, le=36_500
    )
    reserve_bytes: ByteSize = _setting(
        ByteSize(16 * MIB), "bytes", "Disk space that uploads leave free, so that the database can always write."
    )
    metrics_port: int | None = _setting(
        None,
        "port",
        "Port for `GET /metrics` without a key; 0 selects a free one. Without it, metrics require a key with the scope "
        "`metrics` at the port of the API.",
        ge=0,
        le=65535,
    )
    metrics_host: str = _setting("127.0.0.1", "address", "Address for that port. Whoever reaches it can read metrics.")
    log: Literal["text", "json"] | None = _setting(
        None, "mode", "Format of the log on standard error. Without it, text on a terminal and JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "mode", "Least important lines that are logged; `info` logs one line for each request."
    )
    head_seconds: float = _setting(10.0, "seconds", "Maximum time to receive the head of a request.", gt=0)
    idle_seconds: float = _setting(
        30.0, "seconds", "Maximum time without data while the body of a request is received.", gt=0
    )
    min_upload_rate: int = _setting(
        1024, "bytes per second", "Minimum upload rate, measured over each `idle_seconds` of waiting for data.", ge=0
    )
    max_upload_seconds: float = _setting(3_600.0, "seconds", "Maximum duration of one upload.", gt=0)
    send_stall_seconds: float = _setting(
        60.0, "seconds", "Close a connection whose client has not read any response data for this long.", gt=0
    )
    keep_alive_seconds: int = _setting(75, "seconds", "How long an idle connection is kept open.", ge=1)
    shutdown_seconds: int = _setting(30, "seconds", "How long in-flight requests may continue after SIGTERM.", ge=0)
    max_connections: int = _setting(
        2048,
        "connections",
        "Maximum connections of one process. Above it, the connection that has been idle longest is closed, or the new "
        "one receives 503.",
        ge=1,
    )
    max_connections_per_address: int = _setting(
        0,
        "connections",
        "The same for the connections of one address (for IPv6, of one /64 network) to one process. 0 means seven "
        "eighths of `max_connections`, which a proxy in front needs.",
        ge=0,
    )
    cors_origins: str | None = _setting(
        None,
        "origins",
        "Origins whose web pages may use the API from a browser, separated by commas: `https://app.example.org, "
        "http://localhost:3000`; `*` allows every page on the web.",
    )
    console: Literal["on", "off"] = _setting(
        "on", "mode", "Whether `/console` serves the page on which people work with this server in a browser."
    )
    max_uploads: int = _setting(
        512, "uploads", "Maximum concurrent uploads of one process; further ones receive 503.", ge=1
    )
    max_uploads_per_project: int = _setting(
        0,
        "uploads",
        "Maximum concurrent uploads of one project in one process; further ones receive 429. 0 means half of "
        "`max_uploads`.",
        ge=0,
    )
    max_model_requests: int = _setting(
        0,
        "requests",
        "Maximum concurrent requests that one process passes on to model servers; further ones receive 503. 0 means "
        "half of `max_connections`.",
        ge=0,
    )
    max_model_requests_per_project: int = _setting(
        0,
        "requests",
        "The same for the requests of one project, and with 429. 0 means half of `max_model_requests`.",
        ge=0,
    )
    wrong_keys_per_minute: int = _setting(
        1200,
        "requests per minute",
        "Rate of requests with invalid keys from one address, after a burst of 200; further ones receive 429. Valid "
        "keys are never limited. 0 means no limit.",
        ge=0,
    )
    trusted_proxies: str | None = _setting(
        None,
        "networks",
        "Proxies whose `X-Forwarded-For` header identifies the client, as addresses or networks separated by commas: "
        "`10.0.0.5, 10.1.0.0/16`.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags override the environment, which overrides the file."""
        config = os.environ.get(f"{PREFIX}CONFIG")
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        return (*sources, TomlConfigSettingsSource(settings_cls, toml_file=config)) if config else sources

    @field_validator("bootstrap_key", "upstream_api_key")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        return None if key is None else endpoint_settings.check_key(key)

    @field_validator("upstream_url")
    @classmethod
    def _check_upstream_url(cls, url: str | None) -> str | None:
        return None if url is None else endpoint_settings.check_url(url)

    @field_validator("webhook_url")
    @classmethod
    def _check_webhook_url(cls, url: str | None) -> str | None:
        if url is not None:
            origin_of(url)
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            prefix, _, encoded = secret.get_secret_value().partition("_")
            try:
                size = len(base64.b64decode(encoded, validate=True))
            except ValueError:
                size = 0
            if prefix != "whsec" or size < MIN_WEBHOOK_SECRET_BYTES:
                raise ValueError(f"it must be whsec_ and the base64 of at least {MIN_WEBHOOK_SECRET_BYTES} bytes")
        return secret

    @field_validator("batch_windows")
    @classmethod
    def _check_batch_windows(cls, text: str) -> str:
        return ",".join(seconds_of_windows(text))

    @field_validator("pass_through_paths")
    @classmethod
    def _check_paths(cls, text: str | None) -> str | None:
        return None if text is None else ",".join(_check_path(item.strip()) for item in text.split(","))

    @field_validator("cors_origins")
    @classmethod
    def _normalize_origins(cls, text: str | None) -> str | None:
        if text is None or text.strip() == "*":
            return text and text.strip()
        return ",".join(_normalize_origin(item.strip()) for item in text.split(","))

    @field_validator("trusted_proxies")
    @classmethod
    def _normalize_networks(cls, text: str | None) -> str | None:
        return None if text is None else ",".join(str(ip_network(item.strip())) for item in text.split(","))

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of trusted proxies."""
        return tuple(ip_network(text) for text in self.trusted_proxies.split(",")) if self.trusted_proxies else ()

    @property
    def uploads_per_project(self) -> int:
        """Maximum concurrent uploads of one project in one process."""
        return self.max_uploads_per_project or max(1, self.max_uploads // 2)

    @property
    def model_requests(self) -> int:
        """Maximum concurrent requests that one process passes on to model servers."""
        return self.max_model_requests or max(1, self.max_connections // 2)

    @property
    def model_requests_per_project(self) -> int:
        """The same for the requests of one project."""
        return self.max_model_requests_per_project or max(1, self.model_requests // 2)

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The allowed origins as browsers write them, or only `*` for all."""
        return tuple(self.cors_origins.split(",")) if self.cors_origins else ()

    @property
    def storage_location(self) -> str:
        """Where file contents are stored: the URL of the store, or the absolute path of the data directory."""
        return self.blob_url or str(self.data_dir.resolve())

    @property
    def connections_per_address(self) -> int:
        """Maximum connections of one address to one process."""
        return self.max_connections_per_address or self.max_connections - self.max_connections // 8

    @property
    def has_upstream(self) -> bool:
        """Whether a model server is configured."""
        return self.upstream_url is not None or bool(self.upstreams)

    @property
    def forwards(self) -> bool:
        """Whether requests for models are passed on."""
        return self.has_upstream and self.pass_through != "off"  # noqa: S105 - no password

    @property
    def forwarded_paths(self) -> tuple[str, ...]:
        """The paths that are passed on beside those that every model server has."""
        return tuple(self.pass_through_paths.split(",")) if self.pass_through_paths else ()

    @property
    def batch_window_seconds(self) -> dict[str, int]:
        """The values of `completion_window` that a batch may have, with their seconds."""
        return seconds_of_windows(self.batch_windows)

    @property
    def project_quota(self) -> int | None:
        """The quota of each project; None for no limit."""
        return int(self.project_quota_bytes) or None

    @property
    def organization_quota(self) -> int | None:
        """The quota of each organization; None for no limit."""
        return int(self.organization_quota_bytes) or None


def seconds_of_windows(text: str) -> dict[str, int]:
    """The seconds of each duration of a list such as `24h, 7d`. Raises `ValueError`."""
    found = {}
    for item in (part.strip() for part in text.split(",")):
        if not WINDOW.fullmatch(item):
            raise ValueError(f"{item!r} is not a duration such as 24h: write minutes (m), hours (h) or days (d)")
        found[item] = int(item[:-1]) * UNIT_SECONDS[item[-1]]
    return found


def _check_path(path: str) -> str:
    """Return a path that is passed on. A path of ours must not be hidden."""
    if not PATH.fullmatch(path) or any(f"{path}/".startswith(f"{ours}/") for ours in OUR_PATHS):
        raise ValueError(
            f"{path!r} is not a path such as /v1/tokenize or /v1/tools/*; {', '.join(OUR_PATHS)} are served here"
        )
    return path


def _normalize_origin(text: str) -> str:
    """Return an origin as browsers write it: in lower case, without the default port of its scheme."""
    if text == "*":
        raise ValueError("* allows every origin and must be the only value")
    origin = text.lower()
    if not ORIGIN.fullmatch(origin):
        raise ValueError(
            f"{text!r} is not an origin: write scheme://host or scheme://host:port without a path, as in "
            "https://app.example.org (an international name in its xn-- form)"
        )
    for scheme, port in (("http", 80), ("https", 443)):
        if origin.startswith(f"{scheme}://"):
            origin = origin.removesuffix(f":{port}")
    return origin


def load(**flags: Any) -> Settings:
    """Load the settings. `CannotStart` names an invalid setting and the values that it accepts."""
    given_flags = {name: value for name, value in flags.items() if value is not None}
    _reject_unknown_variables()
    try:
        settings = Settings(**{**_read_secret_files(), **given_flags})
    except ValidationError as error:
        raise CannotStart("; ".join(_describe_error(dict(item)) for item in error.errors())) from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CannotStart(f"{PREFIX}CONFIG: {error}") from None
    for name, (required, reason) in REQUIRES.items():
        if getattr(settings, name) and not getattr(settings, required):
            raise CannotStart(f"{variable(name)} requires {variable(required)}: {reason}")
    _check_embeddings(settings)
    names = [DEFAULT_NAME] if settings.upstream_url else []
    if fault := endpoint_settings.names_fault([*names, *(entry.name for entry in settings.upstreams)]):
        raise CannotStart(f"{PREFIX}CONFIG: {fault}")
    return settings


def _check_embeddings(settings: Settings) -> None:
    """Raise `CannotStart` for settings of embeddings that do not go together."""
    mode = settings.embeddings
    model, url = variable("embeddings_model"), variable("upstream_url")
    if mode == "upstream":
        for name, missing in ((url, settings.upstream_url is None), (model, not settings.embeddings_model)):
            if missing:
                raise CannotStart(f"{variable('embeddings')}=upstream requires {name}: set it, or use local or off")
    elif settings.embeddings_model:
        raise CannotStart(
            f"{model} names a model of the server at {url}: set {variable('embeddings')}=upstream, or leave the "
            "model out"
        )


def _reject_unknown_variables() -> None:
    known = {variable(name) for name in Settings.model_fields if _unit(name) != TABLES} | RESERVED_VARIABLES
    known |= {f"{name}_FILE" for name in map(variable, _secret_names())}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            raise CannotStart(f"{name} is not a setting; docs/configuration.md lists all settings")
    config = os.environ.get(f"{PREFIX}CONFIG")
    if config and not Path(config).is_file():
        raise CannotStart(f"{PREFIX}CONFIG: {config} is not a file")


def _read_secret_files() -> dict[str, str]:
    """Read the secrets whose `<NAME>_FILE` names a file, as is customary for containers."""
    found = {}
    for name in _secret_names():
        path = os.environ.get(f"{variable(name)}_FILE")
        if path:
            try:
                found[name] = Path(path).read_text().strip()
            except OSError as error:
                raise CannotStart(f"{variable(name)}_FILE: cannot read {path}: {error.strerror}") from None
    return found


def aws_environment() -> dict[str, str]:
    """Return the `AWS_*` variables, which all S3 tools share. A key may be in a file that `AWS_..._FILE` names.

    Raises `CannotStart` if such a file cannot be read.
    """
    found = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        path = found.get(f"{name}_FILE")
        if path and name not in found:
            try:
                found[name] = Path(path).read_text().strip()
            except OSError as error:
                raise CannotStart(f"{name}_FILE: {error}") from None
    return found


def _secret_names() -> list[str]:
    return [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]


def _describe_error(error: dict[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    if name == endpoint_settings.TABLE:
        return f"{PREFIX}CONFIG: {endpoint_settings.describe_error(error, _configured_entries())}"
    if error["type"] == "extra_forbidden":
        return f"{name} is not a setting; docs/configuration.md lists all settings"
    unit = _unit(name) if name in Settings.model_fields else ""
    is_secret = name in _secret_names() or (unit == "URL" and "@" in str(error.get("input")))
    value = "" if is_secret else f" {error.get('input')!r}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"invalid value{value} for {variable(name)}: {message} (unit: {unit})"


def _configured_entries() -> list[Any]:
    """The endpoints as the configuration file has them, for the names in messages."""
    with Path(os.environ[f"{PREFIX}CONFIG"]).open("rb") as file:
        entries = tomllib.load(file).get(endpoint_settings.TABLE)
    return entries if isinstance(entries, list) else []


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def _unit(name: str) -> str:
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""


def secret_as_shell_word(name: str) -> str | None:
    """Return a shell word that expands to a secret setting; None if only the configuration file contains it."""
    if path := os.environ.get(f"{variable(name)}_FILE"):
        return f'"$(cat {shlex.quote(os.path.abspath(path))})"'
    return f'"${variable(name)}"' if os.environ.get(variable(name)) else None


def is_switch(name: str) -> bool:
    """True if the flag of the setting has no value."""
    return _unit(name) == SWITCH


def flags() -> list[tuple[str, str]]:
    """Return (name, help) of all settings that have flags.

    Secrets have none, as other users can see a command line, nor have tables of the configuration file.
    """
    found = []
    for name, field in Settings.model_fields.items():
        if name not in _secret_names() and _unit(name) != TABLES:
            found.append((name, f"{field.description} [{_unit(name)}; default {field.default}; {variable(name)}]"))
    return found


def non_default_values(settings: Settings) -> dict[str, str]:
    """Return the settings that differ from their defaults, for the log: secrets are masked."""
    return {name: str(value) for name, value in settings if value != Settings.model_fields[name].default}


def markdown() -> str:
    """Return the content of docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "A setting can be given in three ways, from highest to lowest precedence:",
        "",
        "1. as a flag of `filestead serve` (`--data-dir`), except for secrets;",
        "2. as an environment variable (`FILESTEAD_DATA_DIR`); a secret can be in a file that `<NAME>_FILE` names;",
        "3. as a key (`data_dir = ...`) of the TOML file that `FILESTEAD_CONFIG` names.",
        "",
        "Sizes are numbers of bytes or texts such as `512MiB`. An unknown name is an error.",
        "This page is generated by `make docs`.",
        "",
        "| setting | default | unit | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in Settings.model_fields.items():
        if _unit(name) == TABLES:
            continue
        default = "none" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{variable(name)}` | {default} | {_unit(name)} | {field.description} |")
    return "\n".join([*lines, *endpoint_settings.markdown()]) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
