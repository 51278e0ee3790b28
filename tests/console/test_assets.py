"""What `/console` sends: headers, caching, sizes; and what its modules may not contain."""

import gzip
import re
from pathlib import Path

import httpx2
import pytest

from filestead.api.console.assets import FOLDER, Assets
from tests.console.texts import modules, translations, used_texts
from tests.support.preflight import find
from tests.support.servers import Server

LINK = re.compile(r'(?:href|src)="(/console/[0-9a-f]{16}/[^"]+)"')
LANGUAGES = ("de", "fr", "es", "ar")
MAX_COMPRESSED = 120_000


@pytest.fixture(scope="module")
def page(server: Server) -> httpx2.Response:
    response = httpx2.get(f"{server.origin}/console")
    assert response.status_code == 200
    return response


def test_the_page_forbids_everything_that_it_does_not_need(page: httpx2.Response) -> None:
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "'none'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in page.headers
    assert re.findall(r"<script(?![^>]*src=)", page.text) == []
    assert re.findall(r"""\s(?:style|on\w+)=""", page.text) == []


def test_files_are_cached_for_ever_under_their_digest(server: Server, page: httpx2.Response) -> None:
    paths = set(LINK.findall(page.text))
    assert len(paths) > 20
    total = len(gzip.compress(page.content))
    for path in paths:
        response = httpx2.get(server.origin + path)
        assert response.status_code == 200, path
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["content-encoding"] == "gzip"
        total += int(response.headers["content-length"])
        plain = httpx2.get(server.origin + path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == response.content == (FOLDER / path.split("/", 3)[3]).read_bytes()
        other = path.replace(path.split("/")[2], "0" * 16)
        assert httpx2.get(server.origin + other).status_code == 404  # a file of another version would not fit
    assert total < MAX_COMPRESSED, "without the one translation that a browser loads"


def test_everything_with_all_translations_is_small() -> None:
    assets = Assets((), "1")
    together = sum(len(asset.compressed) for asset in (*assets.files.values(), assets.page))
    assert together < MAX_COMPRESSED


def test_the_page_is_asked_for_again_and_not_sent_again(server: Server, page: httpx2.Response) -> None:
    assert page.headers["cache-control"] == "no-cache"
    again = httpx2.get(f"{server.origin}/console", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx2.head(f"{server.origin}/console/").headers["etag"] == page.headers["etag"]


@pytest.mark.parametrize(
    "name", ["..%2fassets.py", "../assets.py", "index.html", "vendor/README.md", "", "x.js", "%00"]
)
def test_nothing_else_is_served(server: Server, page: httpx2.Response, name: str) -> None:
    digest = LINK.findall(page.text)[0].split("/")[2]
    assert httpx2.get(f"{server.origin}/console/{digest}/{name}").status_code == 404


def test_a_digest_is_that_of_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {"index.html": "@digest@", "a.js": "1"}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr("filestead.api.console.assets.FOLDER", tmp_path)
    first = Assets((), "1")
    assert first.page.content.decode() == first.digest
    (tmp_path / "a.js").write_text("2")
    assert Assets((), "1").digest != first.digest


def test_the_console_can_be_switched_off(tmp_path: Path) -> None:
    with Server(tmp_path / "data", console="off") as off:
        assert httpx2.get(f"{off.origin}/console").status_code == 404


def test_modules_name_no_other_host_and_evaluate_nothing() -> None:
    for path in (*modules(), FOLDER / "style.css", FOLDER / "index.html"):
        source = path.read_text()
        assert (
            re.findall(r"https?://|\beval\(|new Function|innerHTML|document\.cookie|document\.write", source) == []
        ), path


@pytest.mark.skipif(find("node") is None, reason="node is missing: apt-get install nodejs")
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    texts, plurals = used_texts()
    assert len(texts) > 150
    found = translations(language)
    assert set(found) == texts | plurals
    for text, translation in found.items():
        forms = [translation] if isinstance(translation, str) else list(translation.values())
        assert all(forms), text
        places = set(re.findall(r"\{\w+\}", text))
        for form in forms:
            # A form for a fixed number (one, two) may leave the number out.
            assert set(re.findall(r"\{\w+\}", form)) | {"{n}"} == places | {"{n}"}, (text, form)


def test_the_code_of_others_is_what_the_notes_say() -> None:
    notes = (FOLDER / "vendor/README.md").read_text()
    vendored = sorted((FOLDER / "vendor").glob("*.mjs"))
    assert [path.name for path in vendored] == sorted(re.findall(r"^\| `(\S+\.mjs)`", notes, re.MULTILINE))
    for licence in re.findall(r"`(LICENSE\.\w+)`", notes):
        assert (FOLDER / "vendor" / licence).stat().st_size > 1000
