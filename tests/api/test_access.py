"""Keys, scopes and tenants: who may do what, and that nobody learns of another's files."""

import contextlib
import hashlib
import http.client
import itertools
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from filestead.api.http.routing import PUBLIC
from filestead.api.routes import OPERATIONS
from tests.support.servers import KEY, Server, run_command, wait_for_uploads

MISSING = "You didn't provide an API key."


@pytest.fixture(scope="module")
def keys(server: Server) -> dict[str, str]:
    """Keys of every kind, by name."""

    def create(*arguments: str) -> str:
        made = run_command(server.data_dir, "keys", "create", *arguments)
        assert made.returncode == 0, made.stderr
        assert len(made.stdout.splitlines()) == 1
        return made.stdout.strip()

    return {
        "same project": create("--project", "default"),
        "other project": create("--project", "other"),
        "other organization": create("--project", "default", "--organization", "rivals"),
        "reader": create("--project", "default", "--scope", "files:read"),
        "writer": create("--project", "default", "--scope", "files:write"),
        "system": create("--project", "default", "--scope", "files:write", "--scope", "files:system"),
        "short-lived": create("--project", "default", "--expires-in", "1"),
    }


@pytest.fixture
def as_(server: Server, keys: dict[str, str]) -> Iterator[object]:
    with httpx2.Client(base_url=server.base_url) as client:

        def request(name: str, method: str, path: str, **arguments: object) -> httpx2.Response:
            headers = {"authorization": f"Bearer {keys[name]}"}
            return client.request(method, path, headers=headers, **arguments)  # type: ignore[arg-type]

        yield request


def upload(request: object, name: str, purpose: str = "user_data") -> httpx2.Response:
    return request(name, "POST", "/files", data={"purpose": purpose}, files={"file": ("a.txt", b"secret")})  # type: ignore[operator,no-any-return]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/files/file-x", "/v1/files/file-x/content"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic", "Basic !!", "Token x", KEY])
def test_without_a_key(server: Server, method: str, path: str, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    response = httpx2.request(method, server.origin + path, headers=headers)
    if response.status_code == 405:
        return
    assert response.status_code == 401
    assert "openai-organization" not in response.headers
    assert "openai-version" not in response.headers
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    if method != "HEAD":
        assert response.json()["error"]["message"].startswith(MISSING)
        assert response.json()["error"]["code"] is None


def test_only_these_paths_are_public(server: Server) -> None:
    public = [row.path for row in OPERATIONS if row.access == PUBLIC]
    assert public == ["/", "/v1", "/health", "/health/ready", "/openapi.json"]
    for path in (*public, "/v1/"):
        assert httpx2.get(server.origin + path).status_code == 200
    for row in OPERATIONS:
        if row.path not in public:
            assert httpx2.request(row.method, server.origin + row.path).status_code == 401


TARGETS = (
    *(
        "/v1/files/..%2f..%2fhealth",
        "/v1/files/%2e%2e%2F%2e%2e%2Fhealth",
        "/v1/files/../../health",
        "/health/../v1/files",
    ),
    *(
        "/v1/files%2f..%2f..%2fhealth",
        "/health%2f..%2fv1%2ffiles",
        "//v1/files",
        "/v1//files",
        "/v1/files/",
        "//health@t",
    ),
    *("/v1/files;/health", "/v1/files?/health", "/v1/files#/health", "http://t/v1/files", "http://health/v1/files"),
)
ALIASES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Path", "X-Forwarded-Prefix", "X-Forwarded-Host", "Forwarded")


@pytest.mark.promise("S-08")
def test_no_form_of_a_path_leads_past_the_key(server: Server) -> None:
    """S-08: whether a key is needed depends on the route that serves the request, not on a path made of something."""
    requests = [(target, {}) for target in TARGETS]
    requests += [("/v1/files", {name: "/health"}) for name in ALIASES]
    requests += [("/v1/files", {"Host": host}) for host in ("t/health", "health", "t/health?", "t/health#", "u@t")]
    for target, headers in requests:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
            connection.putrequest("GET", target, skip_host="Host" in headers)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            assert 400 <= response.status < 500, (target, headers, response.read())
            assert b'"error"' in response.read()


@pytest.mark.parametrize(
    "key", ["sk-wrong-key-that-is-long-enough-0001", "short", "' OR 1=1 --", "x" * 5000, "sk-\xe9"]
)
def test_a_wrong_key(server: Server, key: str) -> None:
    response = httpx2.get(server.base_url + "/files", headers={"authorization": f"Bearer {key}".encode("latin-1")})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (401, "invalid_api_key", "invalid_request_error")
    assert key not in response.text
    assert error["message"].startswith("Incorrect API key provided: ")
    assert error["message"].endswith("You can find your API key at https://platform.openai.com/account/api-keys.")


def test_basic_authentication_with_the_key_as_password(server: Server) -> None:
    for user in ("", "anyone"):
        assert httpx2.get(server.base_url + "/files", auth=(user, KEY)).status_code == 200
    assert httpx2.get(server.base_url + "/files", auth=(KEY, "")).status_code == 401


SCOPES = {
    "reader": {"GET"},
    "writer": {"POST", "DELETE"},
    "system": {"POST", "DELETE"},
    "same project": {"GET", "POST", "DELETE"},
}


@pytest.mark.parametrize("name", SCOPES)
@pytest.mark.promise("S-05")
def test_scopes(server: Server, as_: object, name: str) -> None:
    made = server.upload()
    path = f"/files/{made['id']}"
    tried = {
        "GET": [as_(name, "GET", where) for where in ("/files", path, f"{path}/content")],  # type: ignore[operator]
        "POST": [upload(as_, name)],
        "DELETE": [as_(name, "DELETE", path)],  # type: ignore[operator]
    }
    for method, responses in tried.items():
        for response in responses:
            if method in SCOPES[name]:
                assert response.status_code == 200, response.text
            else:
                assert response.status_code == 401
                assert "Missing scopes: files:" in response.json()["error"]["message"]


@pytest.mark.parametrize("purpose", ["assistants_output", "batch_output", "fine-tune-results"])
def test_only_the_system_scope_writes_outputs(server: Server, as_: object, purpose: str) -> None:
    assert upload(as_, "same project", purpose).status_code == 400
    made = upload(as_, "system", purpose)
    assert made.status_code == 200
    assert made.json()["id"] in server.client.get("/files", params={"purpose": purpose}).text
    assert server.client.get(f"/files/{made.json()['id']}/content").content == b"secret"


STRANGERS = ["other project", "other organization"]


@pytest.mark.parametrize(("name", "method", "tail"), list(itertools.product(STRANGERS, ["GET", "DELETE", "HEAD"], ["", "/content"])))  # fmt: skip
@pytest.mark.promise("S-03")
def test_a_foreign_id_is_an_unknown_id(server: Server, as_: object, name: str, method: str, tail: str) -> None:
    mine = server.upload(b"secret")["id"]
    unknown = "file-" + "0" * 22
    foreign, nothing = (as_(name, method, f"/files/{file_id}{tail}") for file_id in (mine, unknown))  # type: ignore[operator]
    assert foreign.status_code == nothing.status_code
    assert foreign.text.replace(mine, unknown) == nothing.text
    varying = {"date", "x-request-id", "openai-processing-ms"}
    assert {k: v for k, v in foreign.headers.items() if k not in varying} == {
        k: v for k, v in nothing.headers.items() if k not in varying
    }
    assert server.client.get(f"/files/{mine}/content").content == b"secret"


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.promise("S-02")
def test_no_foreign_id_in_any_listing(server: Server, as_: object, name: str) -> None:
    mine = [server.upload()["id"] for _ in range(3)]
    upload(as_, name)
    for query in ("", "?limit=1", "?order=asc", "?order=asc&limit=1", "?purpose=user_data", "?purpose=vision"):
        text = as_(name, "GET", f"/files{query}").text  # type: ignore[operator]
        assert not any(file_id in text for file_id in mine)
    foreign = as_(name, "GET", f"/files?after={mine[1]}")  # type: ignore[operator]
    assert (foreign.status_code, foreign.json()["error"]["param"]) == (404, "after")


def test_organization_and_project_headers_must_be_the_keys(server: Server) -> None:
    headers = server.client.get("/files").headers
    good = [
        {},
        {"OpenAI-Organization": "default", "OpenAI-Project": headers["openai-project"]},
        {"OpenAI-Project": "default"},
        {"OpenAI-Organization": ""},
    ]
    for sent in good:
        assert server.client.get("/files", headers=sent).status_code == 200
    for name, code in (("OpenAI-Organization", "mismatched_organization"), ("OpenAI-Project", "mismatched_project")):
        response = server.client.get("/files", headers={name: "rivals"})
        assert (response.status_code, response.json()["error"]["code"]) == (401, code)


@pytest.mark.promise("S-04")
def test_a_key_expires_and_a_revoked_key_stops_within_five_seconds(
    server: Server, keys: dict[str, str], as_: object
) -> None:
    created = run_command(server.data_dir, "keys", "create", "--project", "default")
    key, key_id = created.stdout.strip(), created.stderr.split()[0]
    headers = {"authorization": f"Bearer {key}"}
    assert httpx2.get(server.base_url + "/files", headers=headers).status_code == 200
    assert key not in run_command(server.data_dir, "keys", "list").stdout
    assert run_command(server.data_dir, "keys", "revoke", key_id).returncode == 0
    deadline = time.monotonic() + 5
    while httpx2.get(server.base_url + "/files", headers=headers).status_code == 200:
        assert time.monotonic() < deadline
    assert as_("short-lived", "GET", "/files").status_code == 401  # type: ignore[operator]
    listed = run_command(server.data_dir, "keys", "list").stdout.splitlines()
    assert ["revoked" in line for line in listed if line.startswith(key_id)] == [True]


def revocable(server: Server) -> tuple[dict[str, str], str]:
    """The headers with a new key, and its id."""
    created = run_command(server.data_dir, "keys", "create", "--project", "default")
    return {"authorization": f"Bearer {created.stdout.strip()}"}, created.stderr.split()[0]


@pytest.mark.promise("S-04")
def test_an_upload_that_has_begun_ends_well_although_its_key_is_revoked(server: Server) -> None:
    """The key is checked when the head has arrived; what begins later is refused."""
    headers, key_id = revocable(server)
    head = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    before = server.place.sql("SELECT count(*) FROM blobs WHERE state = 'pending'")[0][0]

    def body() -> Iterator[bytes]:
        yield head + b"x" * 100_000
        wait_for_uploads(server, before + 1)
        assert run_command(server.data_dir, "keys", "revoke", key_id).returncode == 0
        deadline = time.monotonic() + 5
        while httpx2.get(server.base_url + "/files", headers=headers).status_code == 200:
            assert time.monotonic() < deadline
        yield b"y" * 100_000 + b"\r\n--b--\r\n"

    form = {**headers, "content-type": "multipart/form-data; boundary=b"}
    response = httpx2.post(server.base_url + "/files", headers=form, content=body(), timeout=60)
    assert response.status_code == 200, response.text
    made = server.client.get(f"/files/{response.json()['id']}/content")
    assert made.content == b"x" * 100_000 + b"y" * 100_000
    assert httpx2.post(server.base_url + "/files", headers=form, content=head).status_code == 401


@pytest.mark.promise("S-04")
def test_a_key_that_is_revoked_under_load_stops_within_five_seconds_and_others_go_on(server: Server) -> None:
    headers, key_id = revocable(server)
    answers: list[tuple[float, bool, int]] = []
    stopped = threading.Event()

    def ask(of_key: dict[str, str], is_revoked: bool) -> None:
        with httpx2.Client(base_url=server.base_url, headers=of_key) as client:
            while not stopped.is_set():
                began = time.monotonic()
                status = client.get("/files", params={"limit": 1}).status_code
                answers.append((began, is_revoked, status))
                time.sleep(0.3 if status == 401 else 0.02)  # wrong keys are limited

    right = {"authorization": f"Bearer {KEY}"}
    threads = [threading.Thread(target=ask, args=each) for each in [(headers, True)] * 3 + [(right, False)]]
    for thread in threads:
        thread.start()
    assert run_command(server.data_dir, "keys", "revoke", key_id).returncode == 0
    revoked_at = time.monotonic()
    while sum(status == 401 for _, _, status in answers) < 12:
        assert time.monotonic() < revoked_at + 10
        time.sleep(0.02)
    stopped.set()
    for thread in threads:
        thread.join()
    assert {status for _, is_revoked, status in answers if not is_revoked} == {200}
    of_key = [(began, status) for began, is_revoked, status in answers if is_revoked]
    assert {status for _, status in of_key} == {200, 401}
    assert max(began for began, status in of_key if status == 200) < revoked_at + 5


@pytest.mark.promise("S-04")
def test_keys_are_stored_only_as_digests(server: Server, keys: dict[str, str]) -> None:
    stored = server.place.dump()
    assert hashlib.sha256(KEY.encode()).hexdigest().encode() in stored
    for key in (*keys.values(), KEY):
        assert key.encode() not in stored
    assert KEY not in server.output


def test_key_commands_explain_themselves(server: Server) -> None:
    unknown = run_command(server.data_dir, "keys", "revoke", "key_nope")
    assert (unknown.returncode, unknown.stderr) == (1, "filestead: there is no key key_nope\n")
    assert run_command(server.data_dir, "keys", "create").returncode == 1
    assert run_command(server.data_dir, "keys", "create", "--project", "p", "--scope", "all").returncode == 1
