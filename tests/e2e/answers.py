"""Every kind of answer that the server gives, made for real: one table, from a kind's name to how it is made."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filestead.api.http.client_limits import WRONG_KEY_BURST
from filestead.domain.batches.model import BatchError
from tests.support.batch_worker import ERROR, BatchWorker, input_of, result
from tests.support.installations import OnDisk
from tests.support.servers import Server, run_command

MIB = 2**20
TOO_MANY = "too many wrong keys"
"""How the names of kinds end that the server makes late, so that guessing is slow."""
FILES, ONE, CONTENT = "/v1/files", "/v1/files/{file_id}", "/v1/files/{file_id}/content"
STORES, STORE = "/v1/vector_stores", "/v1/vector_stores/{vector_store_id}"
ATTACHED, BATCHES = f"{STORE}/files", f"{STORE}/file_batches"
BATCH = f"{BATCHES}/{{batch_id}}"
OF_STORES = [
    *(("GET", STORES), ("POST", STORES), ("GET", STORE), ("POST", STORE), ("DELETE", STORE)),
    *(("POST", f"{STORE}/search"), ("GET", ATTACHED), ("POST", ATTACHED), ("GET", f"{ATTACHED}/{{file_id}}")),
    *(("POST", f"{ATTACHED}/{{file_id}}"), ("DELETE", f"{ATTACHED}/{{file_id}}")),
    *(("GET", f"{ATTACHED}/{{file_id}}/content"), ("POST", BATCHES), ("GET", BATCH), ("POST", f"{BATCH}/cancel")),
    ("GET", f"{BATCH}/files"),
]
RUNS, RUN = "/v1/batches", "/v1/batches/{batch_id}"
OF_BATCHES = [
    *(("GET", RUNS), ("POST", RUNS), ("GET", RUN), ("POST", f"{RUN}/cancel"), ("POST", f"{RUN}/retry")),
    *(("GET", f"{RUN}/output"), ("GET", f"{RUN}/errors")),
]
UPLOADS = "/v1/uploads"
PARTS, COMPLETE, CANCEL = (f"{UPLOADS}/{{upload_id}}/{act}" for act in ("parts", "complete", "cancel"))
OF_UPLOADS = [("POST", path) for path in (UPLOADS, PARTS, COMPLETE, CANCEL)]
PROJECTS = "/v1/organization/projects"
PROJECT = f"{PROJECTS}/{{project_id}}"
KEYS, KEY = f"{PROJECT}/api_keys", f"{PROJECT}/api_keys/{{key_id}}"
ACCOUNTS, ACCOUNT = f"{PROJECT}/service_accounts", f"{PROJECT}/service_accounts/{{service_account_id}}"
AUDIT_LOGS = "/v1/organization/audit_logs"
STORES_USAGE, OWN_USAGE = "/v1/organization/usage/vector_stores", "/v1/usage"
OF_ORGANIZATION = [
    *(("GET", PROJECTS), ("POST", PROJECTS), ("GET", PROJECT), ("GET", f"{PROJECT}/usage")),
    *(("GET", KEYS), ("POST", KEYS), ("GET", KEY), ("DELETE", KEY), ("GET", STORES_USAGE), ("GET", OWN_USAGE)),
    ("GET", AUDIT_LOGS),
    *(("GET", ACCOUNTS), ("POST", ACCOUNTS), ("GET", ACCOUNT), ("DELETE", ACCOUNT), ("POST", f"{ACCOUNT}/api_keys")),
]
OPERATIONS = [
    *(("GET", FILES), ("POST", FILES), ("GET", ONE), ("DELETE", ONE), ("GET", CONTENT)),
    *OF_UPLOADS,
    *OF_STORES,
    *OF_BATCHES,
    *OF_ORGANIZATION,
    *(("GET", "/health"), ("GET", "/health/ready"), ("GET", "/openapi.json")),
    *(("GET", "/metrics"), ("GET", "/"), ("GET", "/v1")),
]


@dataclass(frozen=True)
class Answer:
    """An answer as it came; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def exchange(server: Server, request: bytes, *, method: str = "GET") -> Answer:
    """Send these bytes and read one answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)
        return read(connection, method)


def read(connection: socket.socket, method: str) -> Answer:
    """One answer to a request of this method."""
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def head(method: str, target: str, *headers: str) -> bytes:
    """The head of a request that closes its connection."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def ask(server: Server, method: str, target: str, *headers: str, key: str | None = "", body: bytes = b"") -> Answer:
    """One request with the server's key, another key, or (None) no key."""
    key = server.key if key == "" else key
    extra = [f"Authorization: Bearer {key}"] if key else []
    if body:
        extra.append(f"Content-Length: {len(body)}")
    return exchange(server, head(method, target, *extra, *headers) + body, method=method)


FORM = "Content-Type: multipart/form-data; boundary=b"


def form(file: bytes | None = b"x", name: str = "a.txt", **fields: str) -> bytes:
    """A multipart body, fields first; `__` in a name stands for brackets."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{_bracketed(field)}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    if file is not None:
        parts.append(f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode())
        parts.append(file + b"\r\n")
    return b"".join(parts) + b"--b--\r\n"


def _bracketed(field: str) -> str:
    name, _, member = field.partition("__")
    return f"{name}[{member}]" if member else name


@dataclass
class Scene:
    """Servers in the states that the answers need, and what is on them."""

    well: Server
    """Files of up to 1 MiB, no long silences, downloads as the hosted service allows them."""
    poor: Server
    """No disk space, one upload a minute."""
    impatient: Server
    """Little time for a request's head: of no use for whole ones, which a busy machine may send more slowly."""
    broken: Server
    """The folder for uploads is gone, one upload at a time, one wrong key a minute after the first 200."""
    tight: Server
    """One connection at a time."""
    batches: Server
    """It takes batches, and leaves running them to others."""
    reader: str
    """A key of `well` that may only read, for a project of its own."""
    ids: dict[str, str]
    """Files on `well`."""

    @classmethod
    @contextlib.contextmanager
    def set_up(cls, folder: Path) -> "Iterator[Scene]":
        """Start the servers and put the files there."""
        with (
            Server(folder / "well", downloads="openai", max_file_bytes=MIB, idle_seconds=2) as well,
            # Disks fail in the same way everywhere; a store on other machines would not.
            Server(
                folder / "poor",
                place=OnDisk(folder / "poor"),
                reserve_bytes=2**60,
                uploads_per_minute=1,
            ) as poor,
            Server(folder / "impatient", head_seconds=0.3) as impatient,
            Server(
                folder / "broken", place=OnDisk(folder / "broken"), max_uploads=1, wrong_keys_per_minute=1
            ) as broken,
            Server(folder / "tight", max_connections=1) as tight,
            Server(folder / "batches", role="api", upstream_url="http://127.0.0.1:9/v1") as batches,
        ):
            made = run_command(well.data_dir, "keys", "create", "--project", "other", "--scope", "files:read")
            scene = cls(well, poor, impatient, broken, tight, batches, made.stdout.strip(), {})
            scene.ids["damaged"] = scene.upload(b"damaged", purpose="vision")
            for blob in well.place.stored():
                well.place.lose(blob)
            scene.ids["picture"] = scene.upload(b"0123456789", purpose="vision", expires_after__seconds="3600")
            scene.ids["data"] = scene.upload(b"data", name="naïve.txt", purpose="user_data")
            scene.ids["evals"] = scene.upload(b'{"item": {}}\n', name="a.jsonl", purpose="evals")
            scene.ids["faulty"] = scene.upload(b'{"messages": 1}\n', name="a.jsonl", purpose="fine-tune")
            scene.ids |= scene.searchable_store()
            scene.ids |= _batches(batches)
            scene.ids |= _organization(well)
            staging = broken.data_dir / "staging"
            staging.rename(staging.with_name("elsewhere"))
            yield scene

    def searchable_store(self) -> dict[str, str]:
        """The ids of a vector store with an indexed file, and of its batch."""
        text = self.upload(b"some text", "a.txt", purpose="assistants")
        store = json_request(self, "POST", STORES, {"name": "s", "metadata": {"k": "v"}}).json["id"]
        body = {"file_ids": [text], "attributes": {"year": 2024}}
        batch = json_request(self, "POST", f"{STORES}/{store}/file_batches", body).json["id"]
        deadline = time.monotonic() + 30
        while get(self, f"{STORES}/{store}").json["status"] == "in_progress":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return {"vector_store_id": store, "file_id": text, "batch_id": batch}

    def upload(self, content: bytes, name: str = "a.bin", **fields: str) -> str:
        if "expires_after__seconds" in fields:
            fields["expires_after__anchor"] = "created_at"
        answer = post(self, form(content, name, **fields))
        assert answer.status == 200, answer.body
        return str(answer.json["id"])


def _batches(server: Server) -> dict[str, str]:
    """The ids of a batch that waits, of one that runs, of one that has ended, and of one whose validation failed."""
    ids = {}
    with BatchWorker.of(server) as worker:
        for name in ("waiting", "running", "ended", "invalid"):
            file = server.upload(input_of("a", "b"), purpose="batch", name="in.jsonl")["id"]
            body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            ids[name] = batch_id = server.client.post("/batches", json=body).json()["id"]
            if name == "invalid":
                worker.fail(worker.claim(batch_id), BatchError("invalid_json_line", "No.", 1))
            elif name != "waiting":
                job = worker.start(batch_id, 2)
                worker.append(job, result("a"), rate=1.0)
                worker.append(job, result("b"), kind=ERROR)
                if name == "ended":
                    worker.finish(job)
    return ids


def _organization(server: Server) -> dict[str, str]:
    """A key of an administrator, the ids of its project and of another key in it."""
    scopes = ("--scope", "admin", "--scope", "files:read", "--scope", "metrics")
    done = run_command(server.data_dir, "keys", "create", "--project", "managed", *scopes)
    admin = done.stdout.strip()
    projects = ask(server, "GET", PROJECTS, key=admin).json["data"]
    (project,) = [each["id"] for each in projects if each["name"] == "managed"]
    made = ask(server, "POST", KEYS.format(project_id=project), key=admin, body=b"{}").json
    account = made["owner"]["service_account"]["id"]
    return {"admin": admin, "project_id": project, "key_id": made["id"], "service_account_id": account}


def post(scene: Scene, body: bytes, *headers: str) -> Answer:
    return ask(scene.well, "POST", FILES, *(headers or (FORM,)), body=body)


def json_request(scene: Scene, method: str, target: str, body: Any) -> Answer:
    return ask(scene.well, method, target, "Content-Type: application/json", body=json.dumps(body).encode())


def get(scene: Scene, target: str, *headers: str) -> Answer:
    return ask(scene.well, "GET", target, *headers)


def delete_new(scene: Scene) -> Answer:
    return ask(scene.well, "DELETE", f"{FILES}/{scene.upload(b'x', purpose='user_data')}")


def stalled(scene: Scene) -> Answer:
    return exchange(
        scene.well, head("POST", FILES, f"Authorization: Bearer {scene.well.key}", FORM, "Content-Length: 9")
    )


def limited(scene: Scene) -> Answer:
    """The second upload of a minute; the first counts although the disk was full."""
    ask(scene.poor, "POST", FILES, FORM, body=form(bytes(20_000), purpose="user_data"))
    return ask(scene.poor, "POST", FILES, FORM, body=form(purpose="user_data"))


def too_many_wrong_keys(scene: Scene, method: str, target: str) -> Answer:
    answer = ask(scene.broken, method, target, key="sk-wrong-wrong-wrong-1234")
    for _ in range(WRONG_KEY_BURST + 5):
        if answer.status != 401:
            break
        answer = ask(scene.broken, method, target, key="sk-wrong-wrong-wrong-1234")
    return answer


def on_broken(scene: Scene) -> Answer:
    """An upload that is too large for a row."""
    return ask(scene.broken, "POST", FILES, FORM, body=form(bytes(20_000), purpose="user_data"))


def one_too_many(scene: Scene) -> Answer:
    """An upload beside another one, which has been asked for its body and has not sent it."""
    with socket.create_connection(("127.0.0.1", scene.broken.port), timeout=30) as other:
        key = f"Authorization: Bearer {scene.broken.key}"
        other.sendall(head("POST", FILES, key, FORM, "Content-Length: 9", "Expect: 100-continue"))
        assert other.recv(100).startswith(b"HTTP/1.1 100 ")
        return on_broken(scene)


def unavailable(scene: Scene) -> Answer:
    """An upload after one that has failed."""
    on_broken(scene)
    return on_broken(scene)


def not_ready(scene: Scene) -> Answer:
    on_broken(scene)
    return ask(scene.broken, "GET", "/health/ready", key=None)


def crowded(scene: Scene, method: str) -> Answer:
    """Among so many new connections that even those which may ask for the server's health give way to newer ones."""
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", scene.tight.port), timeout=30))
            for _ in range(100)
        ]
        assert connections[20].recv(1, socket.MSG_PEEK)  # it is told so without being asked
        return read(connections[20], method)


@dataclass(frozen=True)
class Kind:
    """One kind of answer: the operation, its status, and how to get it."""

    method: str
    path: str
    status: int
    make: Callable[[Scene], Answer]


def _listing(query: str, status: int = 200) -> Kind:
    return Kind("GET", FILES, status, lambda scene: get(scene, f"{FILES}?{query.format(**scene.ids)}"))


def _created(status: int, body: bytes, *headers: str) -> Kind:
    return Kind("POST", FILES, status, lambda scene: post(scene, body, *headers))


def _content(file: str, status: int, *headers: str) -> Kind:
    return Kind("GET", CONTENT, status, lambda scene: get(scene, f"{FILES}/{scene.ids[file]}/content", *headers))


def _one(method: str, file: str, status: int) -> Kind:
    path = CONTENT if file.endswith("/content") else ONE
    return Kind(method, path, status, lambda scene: ask(scene.well, method, f"{FILES}/{scene.ids.get(file, file)}"))


def _of_store(method: str, path: str, status: int, body: Any = None, *, query: str = "", **ids: str) -> Kind:
    def make(scene: Scene) -> Answer:
        known = {**scene.ids, **ids}
        target = path.format(**known) + query.format(**known)
        if method == "GET":
            return get(scene, target)
        text = json.dumps({} if body is None else body).replace("{file_id}", known["file_id"])
        return json_request(scene, method, target, json.loads(text))

    return Kind(method, path, status, make)


def deleted_store(scene: Scene) -> Answer:
    store = json_request(scene, "POST", STORES, {}).json["id"]
    return ask(scene.well, "DELETE", f"{STORES}/{store}")


def detached(scene: Scene) -> Answer:
    store = json_request(scene, "POST", STORES, {"file_ids": [scene.ids["file_id"]]}).json["id"]
    return ask(scene.well, "DELETE", f"{STORES}/{store}/files/{scene.ids['file_id']}")


def _known(path: str) -> dict[str, Any]:
    """A valid body for a POST to a path."""
    bodies: dict[str, Any] = {f"{STORE}/search": {"query": "text"}, f"{ATTACHED}/{{file_id}}": {"attributes": {}}}
    bodies |= {ATTACHED: {"file_id": "file-x"}, BATCHES: {"file_ids": ["file-x"]}}
    found: dict[str, Any] = bodies.get(path, {})
    return found


OF_STORE_KINDS = {
    "stores": _of_store("GET", STORES, 200),
    "stores, none": _of_store("GET", STORES, 200, query="?after={vector_store_id}&limit=1"),
    "stores, unknown cursor": _of_store("GET", STORES, 404, query="?after=vs_nope"),
    "new store": _of_store(
        "POST", STORES, 200, {"name": None, "expires_after": {"anchor": "last_active_at", "days": 1}}
    ),
    "new store, unknown member": _of_store("POST", STORES, 400, {"nope": 1}),
    "new store, unknown file": _of_store("POST", STORES, 404, {"file_ids": ["file-nope"]}),
    **{
        f"POST {path}, endless body": _of_store("POST", path, 413, "x" * 17 * MIB)
        for path in (STORES, STORE, f"{STORE}/search", ATTACHED, f"{ATTACHED}/{{file_id}}", BATCHES)
    },
    "store": _of_store("GET", STORE, 200),
    "changed store": _of_store("POST", STORE, 200, {"name": "s"}),
    "deleted store": Kind("DELETE", STORE, 200, deleted_store),
    "search": _of_store("POST", f"{STORE}/search", 200, {"query": "text"}),
    "search, nothing found": _of_store("POST", f"{STORE}/search", 200, {"query": ["nope"]}),
    "search, bad filter": _of_store("POST", f"{STORE}/search", 400, {"query": "x", "filters": {}}),
    "attached files": _of_store("GET", ATTACHED, 200),
    "attached files, bad status": _of_store("GET", ATTACHED, 400, query="?filter=x"),
    "attached files, none": _of_store("GET", ATTACHED, 200, query="?filter=failed"),
    "attach": _of_store("POST", ATTACHED, 200, {"file_id": "{file_id}"}),
    "attached file": _of_store("GET", f"{ATTACHED}/{{file_id}}", 200),
    "attached file, unknown": _of_store("GET", f"{ATTACHED}/{{file_id}}", 404, file_id="file-nope"),
    "new attributes": _of_store("POST", f"{ATTACHED}/{{file_id}}", 200, {"attributes": {"year": 2024}}),
    "detached file": Kind("DELETE", f"{ATTACHED}/{{file_id}}", 200, detached),
    "text of a file": _of_store("GET", f"{ATTACHED}/{{file_id}}/content", 200),
    "new batch": _of_store("POST", BATCHES, 200, {"file_ids": ["{file_id}"]}),
    "batch": _of_store("GET", BATCH, 200),
    "cancelled batch": _of_store("POST", f"{BATCH}/cancel", 200),
    "files of a batch": _of_store("GET", f"{BATCH}/files", 200),
    **{
        f"{method} {path}, unknown": _of_store(method, path, 404, _known(path), vector_store_id="vs_nope")
        for method, path in OF_STORES
        if path != STORES
    },
}


def _of_batch(
    method: str, path: str, status: int, run: str = "", body: Any = None, *headers: str, query: str = ""
) -> Kind:
    """A kind of answer to a request on a batch of the scene, or on an unknown one."""

    def make(scene: Scene) -> Answer:
        target = path.format(batch_id=scene.ids.get(run, run)) + query
        content = b"" if body is None else json.dumps(body).encode()
        return ask(scene.batches, method, target, *headers, body=content)

    return Kind(method, path, status, make)


def without_upstream(scene: Scene) -> Answer:
    return ask(scene.well, "POST", RUNS, body=json.dumps(NEW_RUN).encode())


NEW_RUN = {
    "input_file_id": "file-x",
    "endpoint": "/v1/embeddings",
    "completion_window": "24h",
    "metadata": {"k": "v"},
    "output_expires_after": {"anchor": "created_at", "seconds": 3_600},
}
OF_BATCH_KINDS = {
    "batches": _of_batch("GET", RUNS, 200),
    "batches, none": _of_batch("GET", RUNS, 200, query="?limit=0"),
    "batches, bad limit": _of_batch("GET", RUNS, 400, query="?limit=101"),
    "batches, unknown cursor": _of_batch("GET", RUNS, 404, query="?after=batch_x"),
    "new batch to run": _of_batch("POST", RUNS, 200, "", NEW_RUN),
    "new batch to run, repeated": _of_batch("POST", RUNS, 200, "", NEW_RUN, "Idempotency-Key: again"),
    "new batch to run, bad window": _of_batch("POST", RUNS, 400, "", {**NEW_RUN, "completion_window": "1h"}),
    "new batch to run, no upstream": Kind("POST", RUNS, 400, without_upstream),
    "new batch to run, endless body": _of_batch("POST", RUNS, 413, "", "x" * 17 * MIB),
    **{f"batch that is {run}": _of_batch("GET", RUN, 200, run) for run in ("waiting", "running", "ended", "invalid")},
    "batch that is cancelled": _of_batch("POST", f"{RUN}/cancel", 200, "waiting"),
    "batch that is cancelled too late": _of_batch("POST", f"{RUN}/cancel", 409, "ended"),
    "batch that is retried": _of_batch("POST", f"{RUN}/retry", 200, "ended"),
    "batch that is retried in vain": _of_batch("POST", f"{RUN}/retry", 409, "invalid"),
    **{
        f"{kind} {name}": _of_batch("GET", f"{RUN}/{kind}", status, run, None, *headers)
        for kind in ("output", "errors")
        for name, status, run, headers in (
            ("of a batch that waits", 204, "waiting", ()),
            ("so far", 200, "running", ()),
            ("so far, range", 206, "running", ("Range: bytes=1-",)),
            ("at the end", 200, "ended", ()),
            ("at the end, range", 206, "ended", ("Range: bytes=1-2",)),
            ("unchanged", 304, "ended", ("If-None-Match: *",)),
            ("of another content", 412, "ended", ('If-Match: "other"',)),
            ("beyond the end", 416, "ended", ("Range: bytes=10000-",)),
            ("of a batch without any", 200, "invalid", ()),
        )
    },
    **{
        f"{method} {path}, unknown": _of_batch(method, path, 404, "batch_x")
        for method, path in OF_BATCHES
        if path != RUNS
    },
}

NEW_UPLOAD: dict[str, Any] = {"filename": "a.bin", "purpose": "user_data", "bytes": 4, "mime_type": "text/plain"}
PART = b'--b\r\nContent-Disposition: form-data; name="data"; filename="upload"\r\n\r\npart\r\n--b--\r\n'


def new_upload(server: Server) -> str:
    """The path of a pending upload of 4 bytes."""
    body = json.dumps(NEW_UPLOAD).encode()
    answer = ask(server, "POST", UPLOADS, "Content-Type: application/json", body=body)
    assert answer.status == 200, answer.body
    return f"{UPLOADS}/{answer.json['id']}"


def add_part(scene: Scene, upload: str = "", *headers: str) -> Answer:
    target = f"{upload or new_upload(scene.well)}/parts"
    return ask(scene.well, "POST", target, *(headers or (FORM,)), body=PART)


def add_part_on_full_disk(scene: Scene) -> Answer:
    """To an upload that is older than the disk is full: its server takes one a minute, and counted others before."""
    key = scene.poor.place.sql("SELECT id FROM projects")[0][0]
    scene.poor.place.sql(
        "INSERT INTO uploads (id, project_id, filename, purpose, bytes, created_at, expires_at, status) "
        "VALUES ('upload_x', ?, 'a', 'user_data', 4, 1, 9999999999, 'pending') ON CONFLICT DO NOTHING",
        key,
    )
    scene.poor.place.sql("UPDATE projects SET bytes_reserved = 4")
    return ask(scene.poor, "POST", f"{UPLOADS}/upload_x/parts", FORM, body=PART)


def complete(scene: Scene, **changes: Any) -> Answer:
    upload = new_upload(scene.well)
    body = {"part_ids": [add_part(scene, upload).json["id"]]} | changes
    return json_request(scene, "POST", f"{upload}/complete", body)


UPLOAD_KINDS = {
    "upload": Kind("POST", UPLOADS, 200, lambda scene: json_request(scene, "POST", UPLOADS, NEW_UPLOAD)),
    "upload, bad purpose": Kind(
        "POST", UPLOADS, 400, lambda scene: json_request(scene, "POST", UPLOADS, NEW_UPLOAD | {"purpose": "x"})
    ),
    "part": Kind("POST", PARTS, 200, add_part),
    "part, unknown upload": Kind("POST", PARTS, 404, lambda scene: add_part(scene, f"{UPLOADS}/upload_x")),
    "part, compressed": Kind("POST", PARTS, 415, lambda scene: add_part(scene, "", FORM, "Content-Encoding: gzip")),
    "part, no form": Kind("POST", PARTS, 400, lambda scene: add_part(scene, "", "Content-Type: text/plain")),
    "part, disk full": Kind("POST", PARTS, 507, add_part_on_full_disk),
    "complete": Kind("POST", COMPLETE, 200, complete),
    "complete, wrong MD5": Kind("POST", COMPLETE, 400, lambda scene: complete(scene, md5="0" * 32)),
    "complete, no parts": Kind("POST", COMPLETE, 400, lambda scene: complete(scene, part_ids=[])),
    "complete, unknown upload": Kind(
        "POST",
        COMPLETE,
        404,
        lambda scene: json_request(scene, "POST", f"{UPLOADS}/upload_x/complete", {"part_ids": []}),
    ),
    "cancel": Kind("POST", CANCEL, 200, lambda scene: ask(scene.well, "POST", f"{new_upload(scene.well)}/cancel")),
    "cancel, unknown upload": Kind("POST", CANCEL, 404, lambda scene: ask(scene.well, "POST", f"{UPLOADS}/x/cancel")),
    **{
        f"POST {path}, endless body": Kind(
            "POST",
            path,
            413,
            lambda scene, path=path: json_request(scene, "POST", path.format(upload_id="upload_x"), "x" * 17 * MIB),
        )
        for path in (UPLOADS, COMPLETE)
    },
}


def _of_organization(method: str, path: str, status: int, body: Any = None, *, query: str = "", **ids: str) -> Kind:
    def make(scene: Scene) -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        target = path.format(**{**scene.ids, **ids}) + query
        return ask(scene.well, method, target, key=scene.ids["admin"], body=content)

    return Kind(method, path, status, make)


def revoked(scene: Scene) -> Answer:
    keys = KEYS.format(**scene.ids)
    made = ask(scene.well, "POST", keys, key=scene.ids["admin"], body=b"{}").json
    return ask(scene.well, "DELETE", f"{keys}/{made['id']}", key=scene.ids["admin"])


def deleted_account(scene: Scene) -> Answer:
    accounts = ACCOUNTS.format(**scene.ids)
    made = ask(scene.well, "POST", accounts, key=scene.ids["admin"], body=b'{"name": "short-lived"}').json
    return ask(scene.well, "DELETE", f"{accounts}/{made['id']}", key=scene.ids["admin"])


OF_ORGANIZATION_KINDS = {
    "projects": _of_organization("GET", PROJECTS, 200),
    "projects, unknown cursor": _of_organization("GET", PROJECTS, 404, query="?after=proj_x"),
    "new project": _of_organization("POST", PROJECTS, 200, {"name": "new"}),
    "new project, name taken": _of_organization("POST", PROJECTS, 409, {"name": "new"}),
    "new project, endless body": _of_organization("POST", PROJECTS, 413, "x" * 17 * MIB),
    "project": _of_organization("GET", PROJECT, 200),
    "usage of a project": _of_organization("GET", f"{PROJECT}/usage", 200),
    "keys": _of_organization("GET", KEYS, 200),
    "new key": _of_organization("POST", KEYS, 200, {"name": "ada", "scopes": ["files:read"], "expires_in": 60}),
    "new key, unknown scope": _of_organization("POST", KEYS, 400, {"scopes": ["x"]}),
    "new key, endless body": _of_organization("POST", KEYS, 413, "x" * 17 * MIB),
    "key": _of_organization("GET", KEY, 200),
    "revoked key": Kind("DELETE", KEY, 200, revoked),
    "service accounts": _of_organization("GET", ACCOUNTS, 200),
    "new service account": _of_organization("POST", ACCOUNTS, 200, {"name": "robot", "expires_in_seconds": 60}),
    "new service account, no name": _of_organization("POST", ACCOUNTS, 400, {}),
    "new service account, endless body": _of_organization("POST", ACCOUNTS, 413, "x" * 17 * MIB),
    "new service account, unknown project": _of_organization("POST", ACCOUNTS, 404, {"name": "x"}, project_id="proj_x"),
    "service account": _of_organization("GET", ACCOUNT, 200),
    "deleted service account": Kind("DELETE", ACCOUNT, 200, deleted_account),
    "new key of an account": _of_organization("POST", f"{ACCOUNT}/api_keys", 200, {"scopes": ["inference"]}),
    "new key of an account, no scope": _of_organization("POST", f"{ACCOUNT}/api_keys", 400, {"scopes": []}),
    "new key of an account, endless body": _of_organization("POST", f"{ACCOUNT}/api_keys", 413, "x" * 17 * MIB),
    "usage of stores": _of_organization("GET", STORES_USAGE, 200, query="?start_time=0&group_by=project_id"),
    "usage of stores, none": _of_organization("GET", STORES_USAGE, 200, query="?start_time=0&end_time=1"),
    "usage of stores, no start": _of_organization("GET", STORES_USAGE, 400),
    "audit log": _of_organization("GET", AUDIT_LOGS, 200, query="?limit=100"),
    "audit log, a time too late": _of_organization("GET", AUDIT_LOGS, 400, query=f"?effective_at[gt]={2**63}"),
    "audit log, unknown cursor": _of_organization("GET", AUDIT_LOGS, 404, query="?after=audit_log-x"),
    "own usage": _of_organization("GET", OWN_USAGE, 200),
    **{
        f"{method} {path}, unknown": _of_organization(
            method, path, 404, {} if method == "POST" else None, project_id="proj_x"
        )
        for method, path in OF_ORGANIZATION
        if "{" in path and (method, path) != ("POST", ACCOUNTS)  # which needs a name
    },
}

KINDS: dict[str, Kind] = {
    **OF_STORE_KINDS,
    **OF_BATCH_KINDS,
    **UPLOAD_KINDS,
    **OF_ORGANIZATION_KINDS,
    "list": _listing(""),
    "list, cut": _listing("limit=1&order=asc"),
    "list, empty": _listing("purpose=batch_output"),
    "list, behind a file": _listing("after={data}&purpose="),
    "list, bad limit": _listing("limit=0", 400),
    "list, limit is no number": _listing("limit=abc", 400),
    "list, bad order": _listing("order=", 400),
    "list, bad purpose": _listing("purpose=x", 400),
    "list, two purposes": _listing("purpose=batch&purpose=vision", 400),
    "list, unknown cursor": _listing("after=file-x", 404),
    "create": _created(200, form(purpose="user_data")),
    "create, batch": _created(200, form(b'{"custom_id": "a"}', purpose="batch")),
    "create, faulty training file": _created(200, form(b'{"a": 1}', "a.jsonl", purpose="fine-tune")),
    "create, bad purpose": _created(400, form(purpose="x")),
    "create, output purpose": _created(400, form(purpose="batch_output")),
    "create, no purpose": _created(400, form()),
    "create, no file": _created(400, form(None, purpose="user_data")),
    "create, unknown field": _created(400, form(purpose="user_data", color="red")),
    "create, bad seconds": _created(
        400, form(purpose="user_data", expires_after__anchor="created_at", expires_after__seconds="60")
    ),
    "create, bad anchor": _created(
        400, form(purpose="user_data", expires_after__anchor="x", expires_after__seconds="3600")
    ),
    "create, no anchor": _created(400, form(purpose="user_data", expires_after__seconds="3600")),
    "create, prose as batch": _created(400, form(b"Dear all", purpose="batch")),
    "create, prose as training data": _created(400, form(b"Dear all", purpose="fine-tune")),
    "create, bad extension": _created(400, form(name="a.vb", purpose="assistants")),
    "create, bad name": _created(400, form(name="..", purpose="user_data")),
    "create, too large": _created(400, form(bytes(2 * MIB), purpose="user_data")),
    "create, malformed": _created(400, b"--b\r\nnonsense"),
    "create, JSON": _created(400, b"{}", "Content-Type: application/json"),
    "create, compressed": _created(415, b"x", FORM, "Content-Encoding: gzip"),
    "create, stalled": Kind("POST", FILES, 408, stalled),
    "create, disk full": Kind(
        "POST", FILES, 507, lambda scene: ask(scene.poor, "POST", FILES, FORM, body=form(purpose="user_data"))
    ),
    "create, too often": Kind("POST", FILES, 429, limited),
    "create, storage failed": Kind("POST", FILES, 500, on_broken),
    "create, storage unavailable": Kind("POST", FILES, 503, unavailable),
    "create, one too many": Kind("POST", FILES, 503, one_too_many),
    "create, key may only read": Kind(
        "POST", FILES, 401, lambda scene: ask(scene.well, "POST", FILES, FORM, key=scene.reader, body=form())
    ),
    "retrieve": _one("GET", "picture", 200),
    "retrieve, name beyond ASCII": _one("GET", "data", 200),
    "retrieve, evals": _one("GET", "evals", 200),
    "retrieve, faulty training file": _one("GET", "faulty", 200),
    "retrieve, unknown": _one("GET", "file-x", 404),
    "delete": Kind("DELETE", ONE, 200, delete_new),
    "delete, unknown": _one("DELETE", "file-x", 404),
    "content": _content("picture", 200),
    "content, range": _content("picture", 206, "Range: bytes=2-5"),
    "content, unchanged": _content("picture", 304, "If-None-Match: *"),
    "content, bad range": _content("picture", 416, "Range: bytes=10-"),
    "content, not handed out": _content("data", 400),
    "content, damaged": _content("damaged", 500),
    "content, unknown": _one("GET", "file-x/content", 404),
    "content, other content": _content("picture", 412, 'If-Match: "other"'),
    "about": Kind("GET", "/", 200, lambda scene: ask(scene.well, "GET", "/", key=None)),
    "about, below /v1": Kind("GET", "/v1", 200, lambda scene: ask(scene.well, "GET", "/v1", key=None)),
    "health": Kind("GET", "/health", 200, lambda scene: ask(scene.well, "GET", "/health", key=None)),
    "ready": Kind("GET", "/health/ready", 200, lambda scene: ask(scene.well, "GET", "/health/ready", key=None)),
    "metrics": Kind("GET", "/metrics", 200, lambda scene: ask(scene.well, "GET", "/metrics", key=scene.ids["admin"])),
    "not ready": Kind("GET", "/health/ready", 503, not_ready),
    "description": Kind("GET", "/openapi.json", 200, lambda scene: ask(scene.well, "GET", "/openapi.json", key=None)),
}


ANY_IDS = {
    "file_id": "file-x",
    "vector_store_id": "vs_x",
    "batch_id": "vsfb_x",
    "upload_id": "upload_x",
    "project_id": "proj_x",
    "key_id": "key_x",
    "service_account_id": "user-x",
}


def _refused_anywhere(method: str, path: str) -> Iterator[tuple[str, Kind]]:
    target = path.format(**ANY_IDS)
    requests = {
        "no HTTP": (400, head(method, target, "no header")),
        "target too long": (414, head(method, f"{target}?a={'x' * 20_000}")),
        "head too large": (431, head(method, target, *[f"X-{number}: x" for number in range(1000)])),
    }
    for name, (status, request) in requests.items():
        yield name, Kind(method, path, status, lambda scene, request=request: exchange(scene.poor, request))
    slow = head(method, target)[:-4]
    yield "head too slow", Kind(method, path, 408, lambda scene: exchange(scene.impatient, slow))
    yield "crowded", Kind(method, path, 503, partial(crowded, method=method))


def _unauthorized(method: str, path: str) -> Iterator[tuple[str, Kind]]:
    target = path.format(**ANY_IDS)
    requests: dict[str, dict[str, Any]] = {
        "no key": {"key": None},
        "wrong key": {"key": "sk-wrong-wrong-wrong-1234"},
        "another organization": {"header": "OpenAI-Organization: other"},
        "another project": {"header": "OpenAI-Project: other"},
    }

    def make(scene: Scene, *, key: str | None = "", header: str = "X-None: 1") -> Answer:
        return ask(scene.well, method, target, header, key=key)

    for name, request in requests.items():
        yield name, Kind(method, path, 401, partial(make, **request))
    yield TOO_MANY, Kind(method, path, 429, partial(too_many_wrong_keys, method=method, target=target))


for _method, _path in OPERATIONS:
    _needs_key = _path == "/metrics" or _path.startswith("/v1/")
    _makers = [_refused_anywhere, _unauthorized] if _needs_key else [_refused_anywhere]
    KINDS |= {f"{_method} {_path}, {name}": kind for make in _makers for name, kind in make(_method, _path)}
