"""Usage, and projects and keys for an administrator, in the browser."""

import time

import httpx2

from tests.console.conftest import Open
from tests.support.servers import Server


def test_usage_by_purpose(opened: Open, server: Server) -> None:
    server.upload(b"x" * 5000)
    page = opened("usage")
    page.wait_for(".notice", "The server is ready")
    page.wait_for(".bars", "user_data")
    usage = server.client.get("/usage").json()
    (shown,) = [files for files in usage["files"] if files["purpose"] == "user_data"]
    assert page.shows(".bars", f"{shown['files']} file")
    assert page.shows(".facts", "2.75 TB")  # the quota


def test_a_key_is_made_shown_once_and_revoked(opened: Open, server: Server, admin: str) -> None:
    page = opened("admin", key=admin)
    page.click("button", "New project")
    page.fill("dialog input[name=name]", "<b>research</b>")
    page.click("dialog button[type=submit]")
    page.wait_for("h2", "Project <b>research</b>")
    page.click("button", "New key")
    page.fill("dialog input[name=name]", "ada")
    page.click("dialog label", "files:write")  # off
    page.click("dialog button[type=submit]")
    page.wait_for(".secret")
    secret = page.text(".secret")
    assert httpx2.get(f"{server.base_url}/files", headers={"authorization": f"Bearer {secret}"}).status_code == 200
    refused = httpx2.post(f"{server.base_url}/files", headers={"authorization": f"Bearer {secret}"})
    assert "Missing scopes: files:write" in refused.text
    page.press("Escape")
    page.wait_for_count(".secret", 0)
    assert secret not in page.html()
    page.wait_for("td", "ada")
    page.click("button", "Revoke…")
    page.click("dialog button[type=submit]")
    page.wait_until_gone("td", "ada")
    time.sleep(2.1)
    assert httpx2.get(f"{server.base_url}/files", headers={"authorization": f"Bearer {secret}"}).status_code == 401


def test_a_service_account_is_made_and_deleted_with_its_keys(opened: Open, server: Server, admin: str) -> None:
    name = "<i>nightly</i>"
    page = opened("admin", key=admin)
    page.click("button", "New project")
    page.fill("dialog input[name=name]", "accounts")
    page.click("dialog button[type=submit]")
    page.wait_for("h2", "Project accounts")
    page.wait_for(".accounts p", "There are no service accounts yet.")
    secrets = []
    for lifetime in ("0", "3600"):  # the second time, the account gets another key
        page.click(".accounts button", "New service account")
        page.fill("dialog input[name=name]", name)
        page.choose("dialog select[name=lifetime]", lifetime)
        page.click("dialog button[type=submit]")
        page.wait_for(".secret")
        secrets.append(page.text(".secret"))
        page.press("Escape")
        page.wait_for_count(".secret", 0)
        assert secrets[-1] not in page.html()
    page.wait_for_count("[aria-label=Keys] tbody tr", 2)
    page.wait_for_count(".accounts tbody tr", 1)
    assert page.text(".accounts tbody .name") == name
    assert page.shows("[aria-label=Keys] td", "in 59 minutes"), "the lifetime of the second key"
    users = [httpx2.get(f"{server.base_url}/files", headers={"authorization": f"Bearer {key}"}) for key in secrets]
    assert [user.status_code for user in users] == [200, 200]

    page.click(".accounts button", "Delete…")
    page.click("dialog button", "Cancel")
    page.wait_until_gone("dialog")
    assert page.shows(".accounts tbody tr")
    page.click(".accounts button", "Delete…")
    page.click("dialog button[type=submit]")
    page.wait_for(".toast", "The service account is deleted")
    page.wait_until_gone(".accounts tbody tr")
    page.wait_until_gone("[aria-label=Keys] tbody tr")
    time.sleep(2.1)
    users = [httpx2.get(f"{server.base_url}/files", headers={"authorization": f"Bearer {key}"}) for key in secrets]
    assert [user.status_code for user in users] == [401, 401]


def test_other_keys_learn_what_they_need(opened: Open) -> None:
    page = opened("admin", expected=("status of 401",))
    page.wait_for(".notice", "--scope admin")
