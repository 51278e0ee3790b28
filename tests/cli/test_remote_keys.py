"""`filestead keys --base-url`: keys of a server by its admin API, from a machine that has no data directory."""

import json
import subprocess
import sys
import time

import httpx2
import pytest

from tests.support.installations import clean_environment
from tests.support.servers import Server, run_command


@pytest.fixture(scope="module")
def admin(server: Server) -> str:
    done = run_command(
        *(server.data_dir, "keys", "create", "--project", "operators", "--scope", "admin"), place=server.place
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def keys(*words: str, admin: str | None) -> "subprocess.CompletedProcess[str]":
    """Run the command without any setting of the server."""
    environment = clean_environment() | {
        "FILESTEAD_DATA_DIR": "/nonexistent",
        "OPENAI_API_KEY": "sk-of-someone-else-123",
    }
    environment |= {"OPENAI_PROJECT_ID": "of someone else"} | ({"OPENAI_ADMIN_KEY": admin} if admin else {})
    command = [sys.executable, "-m", "filestead.cli.main", "keys", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_key_is_created_listed_and_revoked_over_the_api(server: Server, admin: str) -> None:
    to = ("--base-url", server.base_url)
    made = keys(
        *("create", "--project", "new <project>", "--user", "ada", "--scope", "files:read", "--expires-in", "600", *to),
        admin=admin,
    )
    assert made.returncode == 0, made.stderr
    key_id, _, rest = made.stderr.partition(" ")
    assert rest == "for project new <project> of organization default\n"
    authorized = {"authorization": f"Bearer {made.stdout.strip()}"}
    assert httpx2.get(f"{server.base_url}/files", headers=authorized).status_code == 200
    again = keys("create", "--project", "new <project>", *to, admin=admin)
    assert again.returncode == 0, again.stderr

    table = keys("list", *to, admin=admin).stdout.splitlines()
    assert table[0].split() == ["ID", "KEY", "ORGANIZATION", "PROJECT", "USER", "SCOPES", "STATE"]
    listed = [json.loads(line) for line in keys("list", "--json", *to, admin=admin).stdout.splitlines()]
    assert len(table) == len(listed) + 1
    (shown,) = [each for each in listed if each["id"] == key_id]
    assert (shown["organization"], shown["project"], shown["user"]) == ("default", "new <project>", "ada")
    assert (shown["scopes"], shown["expires_at"] - shown["created_at"]) == (["files:read"], 600)
    assert [each["project"] for each in listed].count("new <project>") == 2
    local = run_command(server.data_dir, "keys", "list", "--json", place=server.place).stdout.splitlines()
    assert shown in [json.loads(line) for line in local], "as the command on the installation shows it"

    revoked = keys("revoke", key_id, *to, admin=admin)
    assert (revoked.returncode, revoked.stdout) == (0, f"{key_id} is revoked\n")
    time.sleep(2.1)  # servers cache a valid key for two seconds
    assert httpx2.get(f"{server.base_url}/files", headers=authorized).status_code == 401
    gone = keys("revoke", key_id, *to, admin=admin)
    assert (gone.returncode, gone.stderr) == (1, f"filestead: there is no key {key_id}\n")


def test_more_keys_than_a_page_are_listed(server: Server, admin: str) -> None:
    headers = {"authorization": f"Bearer {admin}"}
    projects = f"{server.base_url}/organization/projects"
    project = httpx2.post(projects, json={"name": "crowded"}, headers=headers).json()["id"]
    for _ in range(101):
        httpx2.post(f"{projects}/{project}/api_keys", json={"name": "one of many"}, headers=headers)
    listed = keys("list", "--json", "--base-url", server.base_url, admin=admin).stdout.splitlines()
    assert len({json.loads(line)["id"] for line in listed if '"crowded"' in line}) == 101


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--base-url", "nowhere"), 78, "--base-url"),
        (("--base-url", "http://127.0.0.1:9/v1"), 1, "127.0.0.1"),
        (("--base-url", "URL", "--data-dir", "x"), 78, "--data-dir and --base-url exclude each other"),
    ],
)
def test_what_cannot_be_asked_is_said(
    server: Server, admin: str, words: tuple[str, ...], status: int, message: str
) -> None:
    done = keys("list", *words, admin=admin)
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_admin_key_is_needed_and_what_it_may_not_do_is_said(server: Server, admin: str) -> None:
    to = ("--base-url", server.base_url)
    done = keys("list", *to, admin=None)
    assert (done.returncode, "OPENAI_ADMIN_KEY" in done.stderr) == (78, True)
    done = keys("list", *to, admin=server.key)
    assert (done.returncode, "Missing scopes: admin" in done.stderr) == (1, True)
    done = keys("create", "--project", "watch", "--scope", "metrics", *to, admin=admin)
    assert (done.returncode, "Supported values are" in done.stderr) == (1, True)
    done = keys("create", "--project", "a", "--organization", "b", *to, admin=admin)
    assert (done.returncode, "--organization and --base-url" in done.stderr) == (78, True)
