"""Endpoints of the settings, and `filestead upstreams`."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from filestead import settings
from filestead.app.endpoints import build_endpoints
from filestead.domain.errors import CannotStart

ROOT = Path(__file__).parents[2]
KEY = "sk-canary-of-upstreams"

ENTRY = '[[upstreams]]\nname = "gpu"\nurl = "http://gpu:8000/v1"\n'


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FILESTEAD_") and name != "FILESTEAD_CONFORMANCE_DATA":
            monkeypatch.delenv(name)


def configure(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    path = folder / "filestead.toml"
    path.write_text(text)
    monkeypatch.setenv("FILESTEAD_CONFIG", str(path))


def test_the_variables_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    text = 'upstream_max_concurrency = 9\n[[upstreams]]\nname = "gpus"\nurl = ["http://a:1/v1/", "http://b/v1"]\n'
    text += f'models = ["llama-*", "x"]\napi_key_file = "{tmp_path}/key"\nmax_concurrency = 3\ntimeout_seconds = 1.5\n'
    configure(monkeypatch, tmp_path, text + '[[upstreams]]\nname = "other"\nurl = "https://c/v1"\nmodels = "x"\n')
    monkeypatch.setenv("FILESTEAD_UPSTREAM_URL", "http://first/v1")
    loaded = settings.load()
    endpoints = build_endpoints(loaded)
    assert [(e.name, e.url) for e in endpoints.all] == [
        *(("default", "http://first/v1"), ("gpus/1", "http://a:1/v1"), ("gpus/2", "http://b/v1")),
        ("other", "https://c/v1"),
    ]
    assert [e.name for e in endpoints.for_model("llama-3")] == ["default", "gpus/1", "gpus/2"]
    assert [e.name for e in endpoints.for_model("x")] == ["default", "gpus/1", "gpus/2", "other"]
    assert [e.name for e in endpoints.for_model("Llama-3")] == ["default"]
    key = loaded.upstreams[0].api_key
    assert key is not None and key.get_secret_value() == KEY
    assert KEY not in repr(loaded) + str(settings.non_default_values(loaded))


def test_a_target_and_the_priority_of_each_endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configure(monkeypatch, tmp_path, ENTRY + 'chat_ttft_p95 = 0.5\npriority = "on"\n')
    monkeypatch.setenv("FILESTEAD_UPSTREAM_URL", "http://first/v1")
    first, second = build_endpoints(settings.load()).all
    assert (first.chat_target, first._priority) == (None, "auto")
    assert (second.chat_target is None, second._priority) == (False, "on")
    monkeypatch.setenv("FILESTEAD_UPSTREAM_CHAT_TTFT_P95", "0.25")
    monkeypatch.setenv("FILESTEAD_UPSTREAM_PRIORITY", "off")
    first, _ = build_endpoints(settings.load()).all
    assert (first.chat_target is None, first._priority) == (False, "off")


def test_without_endpoints() -> None:
    assert not build_endpoints(settings.load())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY + ENTRY, "two endpoints have the name gpu: choose another"),
        (ENTRY.replace("gpu", "default", 1), "two endpoints have the name default"),
        ('[[upstreams]]\nurl = "http://a/v1"\n', "upstreams, entry 1: name is missing"),
        ('[[upstreams]]\nname = "a"\n', "upstreams, entry 1 (a): url is missing"),
        (ENTRY + "port = 3\n", "upstreams, entry 1 (gpu): port is not a key of it; they are name, url, api_key"),
        (ENTRY + '[[upstreams]]\nname = "b c"\nurl = "http://a"\n', "upstreams, entry 2 (b c): invalid value 'b c' for name"),
        (ENTRY.replace("http:", "ftp:"), "upstreams, entry 1 (gpu): invalid value 'ftp://gpu:8000/v1' for url: it must"),
        (ENTRY.replace("//", "//me:canary@"), "for url: it must not hold a user name"),
        (ENTRY.replace('/v1"', '/v1?key=x"'), "for url: it must end with a path"),
        ('[[upstreams]]\nname = "a"\nurl = []\n', "for url"),
        ('[[upstreams]]\nname = "a"\nurl = ["http://a", "http://a/"]\n', "it lists the same URL twice"),
        (ENTRY + "models = []\n", "for models"),
        (ENTRY + 'models = [""]\n', "a name must not be empty"),
        (ENTRY + "max_concurrency = 0\n", "upstreams, entry 1 (gpu): invalid value 0 for max_concurrency"),
        (ENTRY + "timeout_seconds = -1\n", "upstreams, entry 1 (gpu): invalid value -1 for timeout_seconds"),
        (ENTRY + 'api_key = "canary\\u0007"\n', "upstreams, entry 1 (gpu): invalid value for api_key: the key has control"),
        (ENTRY + 'api_key = "canary"\napi_key_file = "x"\n', "it has both api_key and api_key_file: leave one out"),
        (ENTRY + 'api_key_file = "/nowhere"\n', "cannot read the api_key_file /nowhere: No such file"),
        (ENTRY + "api_key_file = 3\n", "cannot read the api_key_file 3"),
        (ENTRY + "chat_ttft_p95 = 0\n", "upstreams, entry 1 (gpu): invalid value 0 for chat_ttft_p95"),
        (ENTRY + 'priority = "high"\n', "upstreams, entry 1 (gpu): invalid value 'high' for priority"),
        ('upstreams = "http://a"\n', "write each endpoint as a table [[upstreams]]"),
        ("upstreams = [1]\n", "upstreams, entry 1"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, message: str) -> None:
    configure(monkeypatch, tmp_path, text)
    monkeypatch.setenv("FILESTEAD_UPSTREAM_URL", "http://first/v1")
    with pytest.raises(CannotStart, match="^FILESTEAD_CONFIG: ") as caught:
        settings.load()
    assert message in str(caught.value)
    assert "canary" not in str(caught.value)


@contextlib.contextmanager
def model_server(*words: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.support.model_server", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def upstreams(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "filestead.cli.main", "upstreams", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FILESTEAD_")}
    environment |= variables
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=60)


def test_the_command_says_what_each_endpoint_offers(tmp_path: Path) -> None:
    with model_server("--models", "a,b,c,d,e,f,g", "--key", KEY) as url, model_server("--no-metrics") as other:
        config = tmp_path / "filestead.toml"
        config.write_text(f'[[upstreams]]\nname = "plain"\nurl = "{other}"\n')
        given = {"FILESTEAD_UPSTREAM_URL": url, "FILESTEAD_UPSTREAM_API_KEY": KEY, "FILESTEAD_CONFIG": str(config)}
        done = upstreams(**given)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            f"default  {url}  usable; models: a, b, c, d, e and 2 more; offers metrics",
            f"plain  {other}  usable; models: m; no metrics",
        ]
        done = upstreams("--json", **given)
        assert [json.loads(line) for line in done.stdout.splitlines()] == [
            {"name": "default", "url": url, "usable": True, "detail": "", "models": list("abcdefg"), "metrics": True},
            {"name": "plain", "url": other, "usable": True, "detail": "", "models": ["m"], "metrics": False},
        ]
        done = upstreams(**{**given, "FILESTEAD_UPSTREAM_API_KEY": "sk-wrong"})
        assert done.returncode == 1
        assert f"default  {url}  not usable: it refuses the key (401)" in done.stdout
        assert "sk-wrong" not in done.stdout + done.stderr
    done = upstreams(**given)
    assert done.returncode == 1
    assert done.stdout.count("Connection refused") == 2


def test_the_command_without_endpoints() -> None:
    done = upstreams()
    assert (done.returncode, done.stdout) == (78, "")
    assert "set FILESTEAD_UPSTREAM_URL" in done.stderr
