"""Projects, keys and usage over HTTP, also through the official Python package."""

import time
from typing import Any

import httpx2
import openai
import pytest

from tests.support.servers import KEY, Server, new_key


@pytest.fixture(scope="module")
def admin(server: Server) -> str:
    return new_key(server, "--project", "default", "--scope", "admin", "--user", "root")


@pytest.fixture(scope="module")
def official(server: Server, admin: str) -> Any:
    """The official package with the admin key."""
    return openai.OpenAI(base_url=server.base_url, api_key=KEY, admin_api_key=admin).admin.organization


def ask(server: Server, key: str, method: str, path: str, **options: Any) -> httpx2.Response:
    return server.client.request(method, path, headers={"authorization": f"Bearer {key}"}, **options)


def test_the_official_package_manages_projects(official: Any) -> None:
    made = official.projects.create(name="research")
    assert (made.object, made.name, made.status, made.archived_at) == (
        "organization.project",
        "research",
        "active",
        None,
    )
    assert official.projects.retrieve(made.id) == made
    names = [project.name for project in official.projects.list(limit=1)]  # pages of one
    assert sorted(names) == ["default", "research"], "in the order of their ids if they are of the same second"
    with pytest.raises(openai.ConflictError, match="research"):
        official.projects.create(name="research")
    with pytest.raises(openai.NotFoundError, match="No project found with id 'proj_none'"):
        official.projects.retrieve("proj_none")


def test_a_key_is_created_shown_once_used_and_revoked(server: Server, admin: str, official: Any) -> None:
    project = official.projects.create(name="keys")
    body = {"name": "ada", "scopes": ["files:read", "files:write"], "expires_in": 3600}
    made = ask(server, admin, "POST", f"/organization/projects/{project.id}/api_keys", json=body).json()
    assert made["value"].startswith("sk-")
    assert made["redacted_value"].startswith(made["value"][:5])
    assert made["expires_at"] - made["created_at"] == 3600
    assert made["scopes"] == ["files:read", "files:write"]
    uploaded = ask(
        server, made["value"], "POST", "/files", data={"purpose": "user_data"}, files={"file": ("a.txt", b"a")}
    )
    assert uploaded.headers["openai-project"] == project.id

    (listed,) = official.projects.api_keys.list(project.id)
    assert (listed.id, listed.name, listed.owner.service_account.name) == (made["id"], "ada", "ada")
    assert "value" not in listed.to_dict()
    assert official.projects.api_keys.retrieve(made["id"], project_id=project.id) == listed

    assert official.projects.api_keys.delete(made["id"], project_id=project.id).deleted
    assert list(official.projects.api_keys.list(project.id)) == []
    time.sleep(2.1)  # servers cache a valid key for two seconds
    assert ask(server, made["value"], "GET", "/files").status_code == 401
    with pytest.raises(openai.NotFoundError, match="No API key found"):
        official.projects.api_keys.delete(made["id"], project_id=project.id)


def test_the_official_package_manages_service_accounts(server: Server, admin: str, official: Any) -> None:
    project = official.projects.create(name="robots").id
    accounts = official.projects.service_accounts
    made = accounts.create(project, name="nightly", expires_in_seconds=3600)
    assert (made.object, made.name, made.role) == ("organization.project.service_account", "nightly", "member")
    assert made.api_key.object == "organization.project.service_account.api_key"
    assert made.api_key.expires_at - made.api_key.created_at == 3600
    assert ask(server, made.api_key.value, "GET", "/files").headers["openai-project"] == project
    another = accounts.api_keys.create(made.id, project_id=project, scopes=["files:read", "inference"])
    assert (another.object, another.name, another.expires_at) == (made.api_key.object, "nightly", None)
    refused = ask(server, another.value, "POST", "/files")
    assert "Missing scopes: files:write" in refused.text
    keys = list(official.projects.api_keys.list(project))
    assert {key.id for key in keys} == {made.api_key.id, another.id}
    assert {key.owner.service_account.id for key in keys} == {made.id}
    assert accounts.retrieve(made.id, project_id=project).name == "nightly"

    same = accounts.create(project, name="nightly")  # the name stands for one user
    assert same.id == made.id
    second = accounts.create(project, name="weekly")
    assert {each.name for each in accounts.list(project, limit=1)} == {"nightly", "weekly"}

    assert accounts.delete(made.id, project_id=project).deleted
    assert [each.id for each in accounts.list(project)] == [second.id]
    time.sleep(2.1)  # servers cache a valid key for two seconds
    for key in (made.api_key.value, another.value, same.api_key.value):
        assert ask(server, key, "GET", "/files").status_code == 401
    assert ask(server, second.api_key.value, "GET", "/files").status_code == 200
    with pytest.raises(openai.NotFoundError, match="No service account found with id"):
        accounts.delete(made.id, project_id=project)
    with pytest.raises(openai.BadRequestError, match="Supported values are: 'false'"):
        accounts.create(project, name="keyless", create_service_account_only=True)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scopes": ["everything"]}, "scopes[0]"),
        ({"scopes": []}, "scopes"),
        ({"expires_in": 0}, "expires_in"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": ""}, "name"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_a_faulty_key_is_refused(server: Server, admin: str, official: Any, body: dict[str, Any], param: str) -> None:
    project = next(iter(official.projects.list()))
    response = ask(server, admin, "POST", f"/organization/projects/{project.id}/api_keys", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_an_administrator_sees_its_organization_only(server: Server, admin: str) -> None:
    foreign = new_key(server, "--organization", "other", "--project", "secret", "--scope", "admin")
    (project,) = ask(server, foreign, "GET", "/organization/projects").json()["data"]
    path = f"/organization/projects/{project['id']}"
    key = ask(server, foreign, "GET", f"{path}/api_keys").json()["data"][0]
    key_id, account = key["id"], f"{path}/service_accounts/{key['owner']['service_account']['id']}"
    assert ask(server, foreign, "GET", account).status_code == 200
    for method, target in (
        ("GET", path),
        ("GET", f"{path}/usage"),
        ("GET", f"{path}/api_keys"),
        ("POST", f"{path}/api_keys"),
        ("GET", f"{path}/api_keys/{key_id}"),
        ("DELETE", f"{path}/api_keys/{key_id}"),
        ("GET", f"{path}/service_accounts"),
        ("GET", account),
        ("DELETE", account),
        ("POST", f"{account}/api_keys"),
    ):
        assert ask(server, admin, method, target).status_code == 404, target
    assert ask(server, admin, "POST", f"{path}/service_accounts", json={"name": "x"}).status_code == 404
    own = ask(server, admin, "GET", "/organization/projects").json()["data"][0]["id"]
    # A key is addressed through its own project alone.
    assert ask(server, admin, "DELETE", f"/organization/projects/{own}/api_keys/{key_id}").status_code == 404
    assert ask(server, foreign, "GET", "/organization/projects").status_code == 200


def test_an_administrator_without_other_scopes_reads_no_file(server: Server, admin: str) -> None:
    file = server.upload()
    assert ask(server, admin, "GET", f"/files/{file['id']}").status_code == 401
    assert ask(server, admin, "GET", "/usage").status_code == 401


def test_usage_is_that_of_the_project(server: Server, official: Any, admin: str) -> None:
    key = new_key(server, "--project", "used")
    form = {"purpose": "batch"}
    line = b'{"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}'
    ask(server, key, "POST", "/files", data=form, files={"file": ("a.jsonl", line)})
    expiring = {"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    ask(server, key, "POST", "/files", data=expiring, files={"file": ("a.png", b"12345")})
    usage = ask(server, key, "GET", "/usage").json()
    assert usage["bytes_used"] == len(line) + 5
    assert usage["files"] == [
        {"purpose": "batch", "files": 1, "bytes": len(line)},
        {"purpose": "vision", "files": 1, "bytes": 5},
    ]
    assert usage["expiring_soon"] == {"within_seconds": 86400, "files": 1, "bytes": 5}
    project = next(each for each in official.projects.list() if each.name == "used")
    seen = ask(server, admin, "GET", f"/organization/projects/{project.id}/usage").json()
    assert seen["files"] == usage["files"]


def test_usage_of_vector_stores_has_the_bucket_of_now(server: Server, official: Any) -> None:
    store = server.client.post("/vector_stores", json={"name": "a"}).json()
    file = server.upload(b"some words to be indexed", purpose="assistants")
    server.client.post(f"/vector_stores/{store['id']}/files", json={"file_id": file["id"]})
    deadline = time.monotonic() + 30
    while server.client.get(f"/vector_stores/{store['id']}").json()["status"] != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    expected = server.client.get(f"/vector_stores/{store['id']}").json()["usage_bytes"]
    now = int(time.time())
    (bucket,) = official.usage.vector_stores(start_time=now - 86400, bucket_width="1h").data
    assert bucket.end_time - bucket.start_time == 3600
    assert bucket.start_time <= time.time()
    assert [result.usage_bytes for result in bucket.results] == [expected]
    (grouped,) = official.usage.vector_stores(start_time=0, group_by=["project_id"]).data
    assert [(result.usage_bytes, bool(result.project_id)) for result in grouped.results] == [(expected, True)]
    assert official.usage.vector_stores(start_time=0, end_time=now - 10 * 86400).data == []
