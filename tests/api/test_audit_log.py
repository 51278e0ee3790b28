"""The audit log over HTTP, also through the official Python package, and its commands."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import openai
import pytest

from filestead.installation import DATABASE
from filestead.wire.audit_log import EVENT_TYPES
from tests.support.installations import OnDisk
from tests.support.servers import KEY, Server, new_key, run_command

LOGS = "/organization/audit_logs"
SECONDS = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("audited") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: Server) -> str:
    return new_key(server, "--project", "default", "--scope", "admin", "--user", "root")


def listed(server: Server, key: str, query: str = "") -> httpx2.Response:
    return server.client.get(f"{LOGS}{query}", headers={"authorization": f"Bearer {key}"})


def about(server: Server, key: str, resource_id: str, count: int) -> list[dict[str, Any]]:
    """The events about a resource, oldest first, once they are sealed."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = listed(server, key, f"?resource_ids[]={resource_id}&limit=100").json()["data"]
        if len(found) >= count or time.monotonic() > deadline:
            assert len(found) == count, found
            return found[::-1]
        time.sleep(0.1)


def tail(server: Server) -> list[dict[str, Any]]:
    done = run_command(server.data_dir, "audit", "list", "--json", "--limit", "1000", place=server.place)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wait_for_denials(server: Server, reason: str, count: int) -> list[dict[str, Any]]:
    """The events of so many denials, which a process records every few seconds."""
    deadline = time.monotonic() + SECONDS + 30
    while True:
        found = [event for event in tail(server) if event["type"] == "access.denied" and reason in event["data"]]
        if sum(json.loads(event["data"])["count"] for event in found) >= count:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


@pytest.mark.promise("S-29")
def test_an_event_says_who_did_what_and_neither_names_nor_content(server: Server, admin: str) -> None:
    uploaded = server.client.post(
        "/files", data={"purpose": "user_data"}, files={"file": ("very secret name.txt", b"very secret content")}
    )
    file_id = uploaded.json()["id"]
    deleted = server.client.delete(f"/files/{file_id}")
    assert server.client.delete(f"/files/{file_id}").status_code == 404
    created, ended = about(server, admin, file_id, 2)
    assert created["type"] == "file.created"
    assert created["file.created"] == {"id": file_id, "data": {"bytes": 19, "purpose": "user_data"}}
    assert ended["file.deleted"] == {"id": file_id, "data": None}
    for event, response in ((created, uploaded), (ended, deleted)):
        actor = event["actor"]
        assert (actor["type"], actor["api_key"]["type"]) == ("api_key", "service_account")
        assert (actor["ip_address"], actor["request_id"]) == ("127.0.0.1", response.headers["x-request-id"])
        assert event["project"] == {"id": response.headers["openai-project"], "name": "default"}
        assert abs(event["effective_at"] - time.time()) < 60
        assert {name for name in event if name in EVENT_TYPES} == {event["type"]}
    everything = listed(server, admin, "?limit=100").text + json.dumps(tail(server))
    for secret in ("very secret", KEY, admin):
        assert secret not in everything


def test_the_official_package_reads_it(server: Server, admin: str) -> None:
    official = openai.OpenAI(base_url=server.base_url, api_key=KEY, admin_api_key=admin).admin.organization
    project = official.projects.create(name="audited")
    account = official.projects.service_accounts.create(project.id, name="robot")
    official.projects.service_accounts.delete(account.id, project_id=project.id)
    assert account.api_key is not None
    about(server, admin, account.api_key.id, 2)
    found = list(official.audit_logs.list(project_ids=[project.id], limit=2))  # pages of two
    assert [event.type for event in found] == [
        *("api_key.deleted", "service_account.deleted", "api_key.created", "service_account.created"),
        "project.created",
    ]
    assert found[-1].project_created.id == project.id
    assert found[2].api_key_created.data.scopes == ["files:read", "files:write", "inference"]
    assert {event.actor.api_key.id for event in found} == {found[0].actor.api_key.id}
    both = official.audit_logs.list(
        event_types=["project.created", "login.failed"],
        actor_ids=[found[0].actor.api_key.id],
        effective_at={"gte": project.created_at, "lte": project.created_at + 60},
    )
    assert [event.project.id for event in both] == [project.id]
    newer = official.audit_logs.list(project_ids=[project.id], before=found[-1].id, limit=1)
    assert [event.id for event in newer.data] == [found[-2].id]
    assert list(official.audit_logs.list(actor_emails=["a@example.com"])) == []
    assert list(official.audit_logs.list(effective_at={"lt": 1})) == []


def test_only_administrators_of_the_organization_read_it(server: Server, admin: str) -> None:
    file_id = server.upload(b"mine")["id"]
    about(server, admin, file_id, 1)
    rival = new_key(server, "--organization", "rivals", "--project", "p", "--scope", "admin")
    seen = listed(server, rival, "?limit=100")
    assert seen.status_code == 200
    assert file_id not in seen.text
    ordinary = new_key(server, "--project", "default")
    assert listed(server, ordinary).status_code == 401
    assert listed(server, "sk-none").status_code == 401


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"effective_at[gt]={2**63}", 400),
        (f"effective_at[lte]={10**80}", 400),
        ("effective_at[gte]=-1", 400),
        ("effective_at[lt]=x", 400),
        (f"effective_at[gte]={2**63 - 1}&effective_at[lte]={2**63 - 1}", 200),
        ("effective_at[gt]=0&effective_at[lt]=0", 200),
        *((f"{name}={quote(text)}", 400) for name in ("after", "before") for text in ("a\0b", "\x1b[1m", "x" * 300)),
        *(
            (f"{name}[]={quote(text)}", 400)
            for name in ("event_types", "project_ids", "actor_ids", "resource_ids", "actor_emails")
            for text in ("a\0b", "a\n", "\x85", "x" * 300)
        ),
        ("resource_ids[]=%ff", 200),
        ("resource_ids[]=" + quote("' OR 1=1 --"), 200),
        ("&".join(["project_ids[]=a"] * 100), 200),
        ("&".join(["project_ids[]=a"] * 101), 400),
        ("after=audit_log-x", 404),
        ("before=audit_log-ffffffffffffffff", 404),
        ("after=audit_log-7fffffffffffffff", 404),
        ("limit=0", 400),
        ("limit=101", 400),
        (f"limit={10**30}", 400),
    ],
)
def test_a_query_is_checked(server: Server, admin: str, query: str, status: int) -> None:
    response = listed(server, admin, f"?{query}")
    assert response.status_code == status, response.text
    if status != 200:
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_denials_are_recorded_and_merged(server: Server, admin: str) -> None:
    file_id = server.upload(b"mine")["id"]
    neighbour = new_key(server, "--project", "neighbour")
    stranger = new_key(server, "--organization", "strangers", "--project", "p")
    for _ in range(30):
        assert listed(server, "sk-wrong-0123456789abcdef").status_code == 401
        assert listed(server, neighbour).status_code == 401
    for key in (neighbour, stranger):
        for wanted in (file_id, "file-" + "0" * 22):
            got = server.client.get(f"/files/{wanted}", headers={"authorization": f"Bearer {key}"})
            assert got.status_code == 404
    wrong = wait_for_denials(server, "wrong_key", 30)
    assert len(wrong) <= 4
    assert {(event["address"], event["organization_id"]) for event in wrong} == {("127.0.0.1", None)}
    assert "sk-wrong" not in json.dumps(tail(server))
    scope = [json.loads(event["data"]) for event in wait_for_denials(server, "missing_scope", 30)]
    assert {data["scope"] for data in scope} == {"admin"}
    foreign = wait_for_denials(server, "foreign_id", 2)
    assert {event["resource_id"] for event in foreign} == {file_id}
    assert len(foreign) == 2
    # The stranger's own administrator must not learn that the id exists.
    assert [event["organization_id"] is None for event in foreign].count(True) == 1
    created, denied = about(server, admin, file_id, 2)
    assert (created["type"], denied["type"]) == ("file.created", "access.denied")


@pytest.mark.promise("I-16")
def test_a_changed_event_is_found_by_both_commands(tmp_path: Path) -> None:
    data = tmp_path / "data"
    place = OnDisk(data)
    with Server(data, place=place) as server:
        file_id = server.upload(b"a")["id"]
    for words, output in ((("audit", "verify"), "events are intact"), (("verify",), "0 findings")):
        done = run_command(data, *words, place=place)
        assert (done.returncode, output in done.stdout) == (0, True), done.stdout + done.stderr
    with closing(sqlite3.connect(data / DATABASE)) as connection, connection:
        changed = connection.execute("UPDATE audit_events SET key_id = 'key_x' WHERE resource_id = ?", (file_id,))
        assert changed.rowcount == 1
        ((sequence,),) = connection.execute("SELECT sequence FROM audit_events WHERE resource_id = ?", (file_id,))
    done = run_command(data, "audit", "verify", place=place)
    assert done.returncode == 1
    assert done.stdout.startswith(f"audit event {sequence}: ")
    as_json = run_command(data, "audit", "verify", "--json", place=place)
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["broken"]["subject"] == f"audit event {sequence}"
    whole = run_command(data, "verify", place=place)
    assert (whole.returncode, "I-16" in whole.stdout) == (3, True)


def test_old_events_are_pruned_and_the_rest_stays_intact(tmp_path: Path) -> None:
    data = tmp_path / "data"
    place = OnDisk(data)
    with Server(data, place=place) as server:
        server.upload(b"a")
    with closing(sqlite3.connect(data / DATABASE)) as connection, connection:
        # Sealed again as if they were old.
        connection.execute("UPDATE audit_events SET effective_at = 1, sequence = NULL, hash = NULL")
        for table in ("organizations", "projects", "keys", "files"):
            connection.execute(f"UPDATE {table} SET created_at = 1")
        connection.execute("UPDATE audit_chain SET last_sequence = 0, last_hash = ''")
    with Server(data, place=place, audit_retention=1) as server:
        server.upload(b"b")
    with Server(data, place=place, audit_retention=1, sweep_seconds=0.5) as server:
        deadline = time.monotonic() + SECONDS
        while len(found := tail(server)) > 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert [event["type"] for event in found] == ["file.created"]
    done = run_command(data, "audit", "verify", place=place)
    assert done.stdout.startswith("1 events are intact"), done.stdout
    assert run_command(data, "verify", place=place).returncode == 0


def test_the_list_is_for_people_too(server: Server) -> None:
    file_id = server.upload(b"a")["id"]
    done = run_command(server.data_dir, "audit", "list", "--limit", "1", place=server.place)
    assert (done.returncode, f"file.created  {file_id}  bytes=1" in done.stdout) == (0, True), done.stdout
    assert "  by  key_" in done.stdout
