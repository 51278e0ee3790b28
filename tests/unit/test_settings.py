"""The settings table: every name, its sources, and errors that name the setting."""

import re
from pathlib import Path

import pytest

from filestead import settings
from filestead.domain.errors import CannotStart

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("FILESTEAD_") and name != "FILESTEAD_CONFORMANCE_DATA":
            monkeypatch.delenv(name)


def test_the_defaults_are_the_published_limits() -> None:
    loaded = settings.load()
    assert loaded.max_file_bytes == 512 * 2**20
    assert loaded.max_batch_file_bytes == 200 * 2**20
    assert loaded.project_quota == 2.5 * 2**40
    assert loaded.organization_quota is None
    assert loaded.uploads_per_minute == 1000
    assert (loaded.validation, loaded.downloads, loaded.batch_expiry_seconds) == ("advise", "all", 2_592_000)
    assert (loaded.host, loaded.port, str(loaded.data_dir), loaded.workers) == ("127.0.0.1", 8080, "data", 1)


def test_flags_win_over_environment_over_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "filestead.toml"
    config.write_text('port = 1\nworkers = 2\nmax_file_bytes = "1MiB"\n')
    monkeypatch.setenv("FILESTEAD_CONFIG", str(config))
    monkeypatch.setenv("FILESTEAD_PORT", "3")
    monkeypatch.setenv("FILESTEAD_HOST", "::1")
    loaded = settings.load(host="0.0.0.0")
    assert (loaded.host, loaded.port, loaded.workers, loaded.max_file_bytes) == ("0.0.0.0", 3, 2, 2**20)


def test_a_secret_may_come_from_a_file_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("sk-canary\n")
    monkeypatch.setenv("FILESTEAD_BOOTSTRAP_KEY_FILE", str(secret))
    loaded = settings.load()
    assert loaded.bootstrap_key is not None
    assert loaded.bootstrap_key.get_secret_value() == "sk-canary"
    assert "canary" not in repr(loaded)
    assert "bootstrap_key" not in [name for name, _ in settings.flags()]


NO_ORIGINS = [
    *("app.example.org", "https://app.example.org/", "https://app.example.org/page", "https://", "null", "//a.example"),
    *("https://a.example https://b.example", "https://a.example,", "https://me@a.example", "https://a.example:http"),
    *("https://münchen.example", "https://a.example?x", "javascript:alert(1)", "https:/a.example"),
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("WORKERS", "0"),
        ("VALIDATION", "loose"),
        ("DOWNLOADS", "none"),
        ("MAX_FILE_BYTES", "many"),
        ("MAX_FILE_BYTES", "-1"),
        ("UPLOADS_PER_MINUTE", "-1"),
        ("PROJECT_QUOTA_BYTES", "-5"),
        ("BATCH_EXPIRY_SECONDS", "1.5"),
        ("SWEEP_SECONDS", "0"),
        *(("CORS_ORIGINS", value) for value in NO_ORIGINS),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FILESTEAD_{name}", value)
    with pytest.raises(CannotStart, match=f"invalid value .*{re.escape(value)}.* for FILESTEAD_{name}: "):
        settings.load()


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (" * ", ("*",)),
        ("https://a.example", ("https://a.example",)),
        ("https://A.Example:443,http://b.example:80", ("https://a.example", "http://b.example")),
        ("https://a.example:80 , http://localhost:3000", ("https://a.example:80", "http://localhost:3000")),
        ("http://[::1]:3000,http://127.0.0.1", ("http://[::1]:3000", "http://127.0.0.1")),
        ("chrome-extension://abcdef,capacitor://localhost", ("chrome-extension://abcdef", "capacitor://localhost")),
        ("https://xn--mnchen-3ya.example", ("https://xn--mnchen-3ya.example",)),
    ],
)
def test_origins_are_kept_as_browsers_write_them(
    monkeypatch: pytest.MonkeyPatch, text: str, origins: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FILESTEAD_CORS_ORIGINS", text)
    assert settings.load().allowed_origins == origins


@pytest.mark.parametrize("text", ["https://a.example/", "https://*.example"])
def test_what_is_no_origin_is_told_how_to_write_one(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FILESTEAD_CORS_ORIGINS", f"https://b.example, {text}")
    with pytest.raises(CannotStart, match=re.escape(f"{text!r} is not an origin: write scheme://host or")):
        settings.load()
    monkeypatch.setenv("FILESTEAD_CORS_ORIGINS", "https://b.example, *")
    with pytest.raises(CannotStart, match=r"\* allows every origin and must be the only value"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value", "required"),
    [
        ("BLOB_URL", "s3://bucket", "DATABASE_URL"),
        ("S3_ENDPOINT", "http://store", "BLOB_URL"),
        ("DOWNLOAD_REDIRECT", "true", "BLOB_URL"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, required: str
) -> None:
    monkeypatch.setenv(f"FILESTEAD_{name}", value)
    with pytest.raises(CannotStart, match=f"FILESTEAD_{name} requires FILESTEAD_{required}: "):
        settings.load()
    monkeypatch.setenv("FILESTEAD_DATABASE_URL", "postgresql://host/name")
    monkeypatch.setenv("FILESTEAD_BLOB_URL", "s3://bucket")
    assert getattr(settings.load(), name.lower())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"EMBEDDINGS": "upstream"}, "FILESTEAD_EMBEDDINGS=upstream requires FILESTEAD_UPSTREAM_URL: set it"),
        (
            {"EMBEDDINGS": "upstream", "UPSTREAM_URL": "http://models/v1"},
            "FILESTEAD_EMBEDDINGS=upstream requires FILESTEAD_EMBEDDINGS_MODEL: set it",
        ),
        ({"EMBEDDINGS": "local", "EMBEDDINGS_MODEL": "m"}, "FILESTEAD_EMBEDDINGS_MODEL names a model of the server"),
        ({"EMBEDDINGS_MODEL": "m"}, "FILESTEAD_EMBEDDINGS_MODEL names a model of the server"),
        ({"WEBHOOK_URL": "https://a/b"}, "FILESTEAD_WEBHOOK_URL requires FILESTEAD_WEBHOOK_SECRET"),
        ({"WEBHOOK_URL": "a/b"}, "invalid value 'a/b' for FILESTEAD_WEBHOOK_URL"),
        ({"WEBHOOK_SECRET": "whsec_c2hvcnQ="}, "it must be whsec_ and the base64 of at least 24 bytes"),
        ({"BATCH_WINDOWS": "24h, 1w"}, "'1w' is not a duration such as 24h"),
        ({"UPSTREAM_TIMEOUT": "0"}, "invalid value '0' for FILESTEAD_UPSTREAM_TIMEOUT"),
        ({"UPSTREAM_MAX_CONCURRENCY": "0"}, "invalid value '0' for FILESTEAD_UPSTREAM_MAX_CONCURRENCY"),
        ({"UPSTREAM_MAX_CONCURRENCY": "4097"}, "invalid value '4097' for FILESTEAD_UPSTREAM_MAX_CONCURRENCY"),
        ({"UPSTREAMS": "[]"}, "FILESTEAD_UPSTREAMS is not a setting"),
        ({"UPSTREAM_API_KEY": "sk-canary"}, "FILESTEAD_UPSTREAM_API_KEY requires FILESTEAD_UPSTREAM_URL"),
        ({"UPSTREAM_API_KEY": "sk-canary\n1"}, "for FILESTEAD_UPSTREAM_API_KEY: the key has control characters"),
        ({"UPSTREAM_URL": "ftp://models"}, "FILESTEAD_UPSTREAM_URL: it must begin with http://"),
        ({"UPSTREAM_URL": "http://me:word@models"}, "FILESTEAD_UPSTREAM_URL: it must not hold a user name"),
        ({"UPSTREAM_URL": "http://models/v1?a=b"}, "FILESTEAD_UPSTREAM_URL: it must end with a path"),
    ],
)
def test_settings_of_embeddings_go_together(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], text: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"FILESTEAD_{name}", value)
    with pytest.raises(CannotStart, match=re.escape(text)) as caught:
        settings.load()
    assert "canary" not in str(caught.value)


def test_embeddings_of_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-canary\n")
    monkeypatch.setenv("FILESTEAD_UPSTREAM_API_KEY_FILE", str(tmp_path / "key"))
    loaded = settings.load(embeddings="upstream", embeddings_model="m", upstream_url="https://models.example/v1/")
    assert (loaded.upstream_url, loaded.embeddings_model) == ("https://models.example/v1", "m")
    assert loaded.upstream_api_key is not None and loaded.upstream_api_key.get_secret_value() == "sk-canary"
    assert settings.load(embeddings="local", upstream_url="http://models/v1").embeddings == "local"


def test_unknown_names_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FILESTEAD_PROT", "80")
    with pytest.raises(CannotStart, match="FILESTEAD_PROT is not a setting"):
        settings.load()
    monkeypatch.delenv("FILESTEAD_PROT")
    config = tmp_path / "filestead.toml"
    monkeypatch.setenv("FILESTEAD_CONFIG", str(config))
    with pytest.raises(CannotStart, match="FILESTEAD_CONFIG"):
        settings.load()
    config.write_text("prot = 80\n")
    with pytest.raises(CannotStart, match="prot is not a setting"):
        settings.load()
    config.write_text("port =")
    with pytest.raises(CannotStart, match="FILESTEAD_CONFIG"):
        settings.load()


def test_the_page_is_what_the_table_says() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == settings.markdown()
    for name in settings.Settings.model_fields.keys() - {"upstreams"}:
        assert f"`{settings.variable(name)}`" in settings.markdown()


def test_the_log_of_the_start_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILESTEAD_BOOTSTRAP_KEY", "sk-canary")
    monkeypatch.setenv("FILESTEAD_PORT", "81")
    assert settings.non_default_values(settings.load()) == {"port": "81", "bootstrap_key": "**********"}


def test_the_password_of_a_refused_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILESTEAD_UPSTREAM_URL", "http://ada:canary@models.example.org/v1")
    with pytest.raises(CannotStart, match="invalid value for FILESTEAD_UPSTREAM_URL: ") as refused:
        settings.load()
    assert "canary" not in str(refused.value)


def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILESTEAD_BOOTSTRAP_KEY", "sk\tcanary")
    with pytest.raises(CannotStart, match="invalid value for FILESTEAD_BOOTSTRAP_KEY: ") as refused:
        settings.load()
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "path", ["tokenize", "/tokenize", "/v1/files", "/v1/files/*", "/v1/batches/x", "/v1/a b", "/v1/*x", "*"]
)
def test_paths_that_cannot_be_passed_on(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("FILESTEAD_PASS_THROUGH_PATHS", f"/v1/tokenize, {path}")
    with pytest.raises(CannotStart, match="is not a path such as /v1/tokenize"):
        settings.load()


def test_requests_are_passed_on_if_there_is_a_model_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not settings.load().forwards
    monkeypatch.setenv("FILESTEAD_UPSTREAM_URL", "http://models.example.org/v1")
    monkeypatch.setenv("FILESTEAD_PASS_THROUGH_PATHS", "/v1/tokenize, /v1/tools/*")
    assert settings.load().forwards
    assert settings.load().forwarded_paths == ("/v1/tokenize", "/v1/tools/*")
    monkeypatch.setenv("FILESTEAD_PASS_THROUGH", "off")
    assert not settings.load().forwards
