"""Every setting, once. Environment, configuration file and flags are read here and nowhere else.

The table below makes the environment variables (`FILESTEAD_*`), the keys of the TOML file, the flags of `serve`, and
docs/configuration.md. A name that is not in it is an error, so that a typing mistake cannot pass as a choice.
"""

import os
import re
import shlex
import tomllib
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from filestead.domain.access import secret_fault
from filestead.domain.errors import CannotStart

PREFIX = "FILESTEAD_"
MIB = 1024**2
TIB = 1024**4
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
SWITCH = "switch"
"""Unit of a setting whose flag takes no value."""
NOT_SETTINGS = {f"{PREFIX}CONFIG", f"{PREFIX}CONFORMANCE_DATA"}
"""Names in our part of the environment that mean something else: the configuration file, and the data of our tests."""


NEEDS = {
    "blob_url": ("database_url", "over SQLite, the bytes of the files are in the data directory"),
    "s3_endpoint": ("blob_url", "it is the address of the store that this one names"),
    "download_redirect": ("blob_url", "only a store can be what a download is redirected to"),
}
"""Settings that do nothing without another one, which they then name; and why."""


def _setting(default: Any, unit: str, description: str, **limits: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"unit": unit}, **limits)


class Settings(BaseSettings):
    """The settings of an installation. Sizes take a number of bytes or a text such as `512MiB`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    data_dir: Path = _setting(Path("data"), "folder", "Where the database and the files are kept.")
    host: str = _setting("127.0.0.1", "address", "The address to listen on.")
    port: int = _setting(8080, "port", "The port to listen on; 0 takes a free one.", ge=0, le=65535)
    workers: int = _setting(1, "processes", "Server processes on this machine.", ge=1, le=64)
    bootstrap_key: SecretStr | None = _setting(
        None,
        "key",
        "A key of your own choice for the default project, of printable ASCII with blanks inside or not. A start adds "
        "it, also to an existing installation; it stays valid without this setting until `filestead keys revoke`.",
    )
    print_key: bool = _setting(
        False,
        SWITCH,
        "Print the first key also where standard output is not a terminal. Otherwise it is then written to the file "
        "`first-key` (mode 0600) in the data directory.",
    )
    database_url: SecretStr | None = _setting(
        None,
        "URL",
        "PostgreSQL that holds the rows, as in `postgresql://user:password@host/name`; without it they are in SQLite.",
    )
    database_connections: int = _setting(8, "connections", "Connections of one process to PostgreSQL.", ge=2, le=100)
    blob_url: str | None = _setting(
        None,
        "URL",
        "S3-compatible store that holds the bytes where PostgreSQL holds the rows, as in `s3://bucket/prefix`; without "
        "it they are in the data directory, which all nodes must then share.",
    )
    s3_endpoint: str | None = _setting(
        None, "URL", "Address of an S3-compatible store other than Amazon's; buckets are then named in the path."
    )
    download_redirect: bool = _setting(
        False, "choice", "Answer downloads from S3 with a redirect to a link that is signed for a few minutes."
    )
    allow_link_local: bool = _setting(
        False,
        "choice",
        "Let the server itself connect to link-local addresses (169.254.0.0/16, fe80::/10) and metadata services of "
        "clouds, as for the role of an instance.",
    )
    max_file_bytes: ByteSize = _setting(ByteSize(512 * MIB), "bytes", "Largest file.", ge=1)
    max_batch_file_bytes: ByteSize = _setting(
        ByteSize(200 * MIB), "bytes", "Largest file with the purpose `batch`.", ge=1
    )
    project_quota_bytes: ByteSize = _setting(
        ByteSize(5 * TIB // 2), "bytes", "All files of one project together; 0 means no limit."
    )
    organization_quota_bytes: ByteSize = _setting(
        ByteSize(0), "bytes", "All files of one organization together; 0 means no limit."
    )
    uploads_per_minute: int = _setting(
        1000, "uploads a minute", "Uploads of one user; 0 means no limit.", ge=0, le=1_000_000
    )
    validation: Literal["openai", "advise", "strict", "hosted"] = _setting(
        "advise",
        "mode",
        "What happens to JSONL files with faulty lines: `openai` refuses what the hosted service refuses at upload, "
        "`advise` also checks every line and reports the first fault in `status_details`, `strict` refuses such files; "
        "`hosted` is `strict` by the rules of the hosted batch runner: its endpoints only, and one model in a file.",
    )
    downloads: Literal["all", "openai"] = _setting(
        "all", "mode", "Which purposes may be downloaded: `all`, or only those that the hosted service hands out."
    )
    batch_expiry_seconds: int = _setting(
        2_592_000, "seconds", "Lifetime of a batch file that names none; 0 means it never expires.", ge=0
    )
    sweep_seconds: float = _setting(
        60.0, "seconds", "How often the bytes of expired and deleted files are removed.", gt=0
    )
    sweep_quarantine: int = _setting(
        86_400,
        "seconds",
        "After the clock has jumped ahead, how long it must be steady before what has expired by the jump is removed; "
        "0 believes it at once.",
        ge=0,
    )
    reserve_bytes: ByteSize = _setting(
        ByteSize(16 * MIB), "bytes", "Disk space that uploads leave free, so that the database can always write."
    )
    head_seconds: float = _setting(10.0, "seconds", "Time in which a request's head must arrive.", gt=0)
    idle_seconds: float = _setting(30.0, "seconds", "Longest silence while a request's body arrives.", gt=0)
    min_upload_rate: int = _setting(
        1024, "bytes a second", "Slowest upload, measured over each `idle_seconds` of waiting for it.", ge=0
    )
    max_upload_seconds: float = _setting(3_600.0, "seconds", "Longest time that one upload may take.", gt=0)
    send_stall_seconds: float = _setting(
        60.0, "seconds", "How long a client may take nothing of an answer before it is cut off.", gt=0
    )
    keep_alive_seconds: int = _setting(75, "seconds", "How long an idle connection is kept.", ge=1)
    shutdown_seconds: int = _setting(30, "seconds", "How long running requests may go on after SIGTERM.", ge=0)
    max_connections: int = _setting(
        2048,
        "connections",
        "Connections of one process. Beyond, the one that has been idle longest is closed, or the new one gets 503.",
        ge=1,
    )
    max_connections_per_address: int = _setting(
        0,
        "connections",
        "Connections of one address (of IPv6: of one network of 64 bits) to one process, likewise; 0 means all but an "
        "eighth of `max_connections`, as a proxy in front needs them.",
        ge=0,
    )
    cors_origins: str | None = _setting(
        None,
        "origins",
        "Web pages that may use the API from a browser, as origins with commas between: `https://app.example.org, "
        "http://localhost:3000`; `*` means every page on the web.",
    )
    max_uploads: int = _setting(512, "uploads", "Uploads at once in one process; more are answered 503.", ge=1)
    max_uploads_per_project: int = _setting(
        0,
        "uploads",
        "Uploads of one project at once in one process; more are answered 429. 0 means half of `max_uploads`.",
        ge=0,
    )
    wrong_keys_per_minute: int = _setting(
        1200,
        "requests a minute",
        "Requests with wrong keys from one address, after 200 at once; more are answered 429. Right keys always work. "
        "0 means no limit.",
        ge=0,
    )
    trusted_proxies: str | None = _setting(
        None,
        "networks",
        "Proxies whose `X-Forwarded-For` names the client, as addresses or networks with commas between: "
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
        """Flags win over the environment, the environment over the file."""
        config = os.environ.get(f"{PREFIX}CONFIG")
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        return (*sources, TomlConfigSettingsSource(settings_cls, toml_file=config)) if config else sources

    @field_validator("bootstrap_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and (fault := secret_fault(key.get_secret_value())):
            raise ValueError(fault)
        return key

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str | None) -> str | None:
        if text is None or text.strip() == "*":
            return text and text.strip()
        return ",".join(_origin(item.strip()) for item in text.split(","))

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str | None) -> str | None:
        return None if text is None else ",".join(str(ip_network(item.strip())) for item in text.split(","))

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of trusted proxies."""
        return tuple(ip_network(text) for text in self.trusted_proxies.split(",")) if self.trusted_proxies else ()

    @property
    def uploads_per_project(self) -> int:
        """Uploads of one project at once in one process."""
        return self.max_uploads_per_project or max(1, self.max_uploads // 2)

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins whose pages may use the API, as browsers write them; `*` alone for any."""
        return tuple(self.cors_origins.split(",")) if self.cors_origins else ()

    @property
    def bytes_place(self) -> str:
        """Where the bytes of the files are: the store's URL, or the whole path of the data directory."""
        return self.blob_url or str(self.data_dir.resolve())

    @property
    def connections_per_address(self) -> int:
        """Connections of one address to one process."""
        return self.max_connections_per_address or self.max_connections - self.max_connections // 8

    @property
    def project_quota(self) -> int | None:
        """The project's quota; None for no limit."""
        return int(self.project_quota_bytes) or None

    @property
    def organization_quota(self) -> int | None:
        """The organization's quota; None for no limit."""
        return int(self.organization_quota_bytes) or None


def _origin(text: str) -> str:
    """An origin as browsers write it: in lower case, without the port that is the scheme's own."""
    if text == "*":
        raise ValueError("* stands alone, as it means every origin")
    origin = text.lower()
    if not ORIGIN.fullmatch(origin):
        raise ValueError(
            f"{text!r} is no origin: write scheme://host or scheme://host:port without a path, as in "
            "https://app.example.org (an international name in its xn-- form)"
        )
    for scheme, port in (("http", 80), ("https", 443)):
        if origin.startswith(f"{scheme}://"):
            origin = origin.removesuffix(f":{port}")
    return origin


def load(**flags: Any) -> Settings:
    """The settings in force. `CannotStart` names the setting that is wrong and what it takes."""
    given = {name: value for name, value in flags.items() if value is not None}
    _refuse_unknown()
    try:
        settings = Settings(**{**_secrets_from_files(), **given})
    except ValidationError as error:
        raise CannotStart("; ".join(_sentence(dict(item)) for item in error.errors())) from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CannotStart(f"{PREFIX}CONFIG: {error}") from None
    for name, (needed, reason) in NEEDS.items():
        if getattr(settings, name) and not getattr(settings, needed):
            raise CannotStart(f"{variable(name)} needs {variable(needed)} as well: {reason}")
    return settings


def _refuse_unknown() -> None:
    known = {variable(name) for name in Settings.model_fields} | NOT_SETTINGS
    known |= {f"{name}_FILE" for name in map(variable, _secret_names())}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            raise CannotStart(f"{name} is not a setting; docs/configuration.md lists them all")
    config = os.environ.get(f"{PREFIX}CONFIG")
    if config and not Path(config).is_file():
        raise CannotStart(f"{PREFIX}CONFIG names {config}, which is not a file")


def _secrets_from_files() -> dict[str, str]:
    """Each secret may come from a file that `<NAME>_FILE` points to, as containers like it."""
    found = {}
    for name in _secret_names():
        path = os.environ.get(f"{variable(name)}_FILE")
        if path:
            try:
                found[name] = Path(path).read_text().strip()
            except OSError as error:
                raise CannotStart(
                    f"{variable(name)}_FILE names {path}, which cannot be read: {error.strerror}"
                ) from None
    return found


def cloud_environment() -> dict[str, str]:
    """The `AWS_*` variables, which S3 stores share with every other tool; `AWS_..._FILE` names a file with the value.

    Raises `CannotStart` for a file that cannot be read.
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


def _sentence(error: dict[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    if error["type"] == "extra_forbidden":
        return f"{name} is not a setting; docs/configuration.md lists them all"
    unit = _unit(name) if name in Settings.model_fields else ""
    given = "" if name in _secret_names() else f" = {error.get('input')!r}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{variable(name)}{given} is wrong: {message} (unit: {unit})"


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _unit(name: str) -> str:
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""


def secret_in_shell(name: str) -> str | None:
    """How a line of shell gets at the secret setting without showing it; None if only the configuration file has it."""
    if path := os.environ.get(f"{variable(name)}_FILE"):
        return f'"$(cat {shlex.quote(os.path.abspath(path))})"'
    return f'"${variable(name)}"' if os.environ.get(variable(name)) else None


def is_switch(name: str) -> bool:
    """Whether the flag of the setting takes no value."""
    return _unit(name) == SWITCH


def flags() -> list[tuple[str, str]]:
    """(name, help) of every setting that may be a flag: not the secrets, as other users can see a command line."""
    found = []
    for name, field in Settings.model_fields.items():
        if name not in _secret_names():
            found.append((name, f"{field.description} [{_unit(name)}; default {field.default}; {variable(name)}]"))
    return found


def changed(settings: Settings) -> dict[str, str]:
    """The settings that are not at their default, as they may be logged: secrets are masked."""
    return {name: str(value) for name, value in settings if value != Settings.model_fields[name].default}


def markdown() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "Every setting is an environment variable, a flag of `filestead serve` (`--data-dir` for `FILESTEAD_DATA_DIR`,",
        "not for secrets), and a key of the TOML file that `FILESTEAD_CONFIG` names (`data_dir = ...`). Flags win over",
        "the environment, the environment over the file. A secret may also come from a file that `<NAME>_FILE` points",
        "to. Sizes are bytes or a text such as `512MiB`. An unknown name is an error. This page is written by",
        "`make docs`.",
        "",
        "| setting | default | unit | what it does |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in Settings.model_fields.items():
        default = "none" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{variable(name)}` | {default} | {_unit(name)} | {field.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
