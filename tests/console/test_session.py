"""The key of a tab: kept in the tab, cleared on sign-out, refused when it has ended; several tabs."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.console.conftest import Open, sign_in
from tests.support.servers import KEY, Server, run_command


def test_a_wrong_key_is_refused_and_a_right_one_kept_in_the_tab(opened: Open) -> None:
    page = opened(key=None, expected=("status of 401",))
    assert page.shows("#key:focus")
    page.fill("#key", "sk-wrong")
    page.press("Enter")
    page.wait_for("#key-error", "The server does not accept this key.")
    assert page.attribute("#key", "aria-describedby").startswith("key-error")
    sign_in(page)
    page.reload()
    page.wait_for(".views")  # still signed in
    assert page.run("JSON.stringify({ ...localStorage })") == "{}"
    assert page.run("document.cookie") == ""
    assert page.use(lambda tab: tab.context.cookies()) == []


def test_signing_out_clears_the_tab(opened: Open) -> None:
    page = opened()
    page.run("sessionStorage.setItem('filestead.upload.x', '1')")
    page.click("button", "Sign out")
    page.wait_for("#key")
    assert page.run("sessionStorage.length") == 0
    assert page.use(lambda tab: tab.input_value("#key")) == ""
    assert KEY not in page.html()


def test_the_key_is_nowhere_in_the_page(opened: Open) -> None:
    page = opened()
    assert KEY not in page.html()
    assert KEY not in page.run("location.href")
    assert all(KEY not in request for request in page.requests)


def test_a_key_that_has_ended_leads_back_to_the_sign_in(opened: Open, server: Server) -> None:
    done = run_command(server.data_dir, "keys", "create", "--project", "short", place=server.place)
    page = opened(key=done.stdout.strip(), expected=("status of 401",))
    key_id = done.stderr.split()[0]
    assert run_command(server.data_dir, "keys", "revoke", key_id, place=server.place).returncode == 0
    time.sleep(2.1)
    page.click(".tools button", "Refresh")
    page.wait_for("[role=alert]", "it has expired or was revoked")
    assert page.run("sessionStorage.length") == 0
    sign_in(page)
    assert not page.shows("[role=alert]")


def test_two_tabs_have_keys_of_their_own(opened: Open, server: Server) -> None:
    one = opened()
    two = one.open_beside(f"{server.origin}/console")
    two.wait_for("#key")  # a key does not spread to other tabs
    done = run_command(server.data_dir, "keys", "create", "--project", "second tab", place=server.place)
    sign_in(two, done.stdout.strip())
    two.run("location.hash = '#/usage'")
    two.wait_for(".facts", "second tab")
    one.run("location.hash = '#/usage'")
    one.wait_for(".facts", "default")
    two.click("button", "Sign out")
    two.wait_for("#key")
    one.reload()
    one.wait_for(".facts", "default")
    assert two.problems == []
    two.close()


def test_a_key_that_may_only_read_is_told_so(opened: Open, server: Server, tmp_path: Path) -> None:
    done = run_command(
        server.data_dir,
        *("keys", "create", "--project", "reader", "--scope", "files:read"),
        place=server.place,
    )
    page = opened(key=done.stdout.strip(), expected=("status of 401",))
    page.click("button", "Upload files")
    path = tmp_path / "a.txt"
    path.write_text("a")
    page.set_files("dialog input[type=file]", path)
    page.click("dialog button[type=submit]")
    page.wait_for(".upload .fault", "Missing scopes: files:write")
    assert page.shows(".views")  # not signed out


@pytest.mark.parametrize("language", ["en-US", "de-DE", "fr-FR", "es-ES", "ar-EG"])
def test_the_language_is_that_of_the_browser_until_another_is_chosen(
    opened: Open, named: dict[str, Any], language: str
) -> None:
    page = opened(language=language)
    tag = language[:2]
    assert page.run("document.documentElement.lang") == tag
    assert page.run("document.documentElement.dir") == ("rtl" if tag == "ar" else "ltr")
    title = {"en": "Files", "de": "Dateien", "fr": "Fichiers", "es": "Archivos", "ar": "الملفات"}[tag]
    assert page.text("h1") == title
    expected = page.run(
        f"new Intl.DateTimeFormat({json.dumps(language)}, {{ dateStyle: 'medium', timeStyle: 'short' }})"
        ".format(new Date(document.querySelector('tbody time').dateTime))"
    )
    assert page.text("tbody time") == expected
    page.choose(".bar-end select", "de" if tag != "de" else "fr")
    page.wait_for("h1", "Dateien" if tag != "de" else "Fichiers")
    page.reload()
    page.wait_for("h1", "Dateien" if tag != "de" else "Fichiers")
