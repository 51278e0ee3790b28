"""What an operator starts: the image's recipe, the compose files, the unit, the proxy, and the commands that they run."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from filestead.cli.command_names import SERVER_COMMANDS
from filestead.database import schema
from filestead.settings import Settings, variable
from tests.support.databases import shared_postgres
from tests.support.installations import OnServers, clean_environment
from tests.support.ports import free_port
from tests.support.preflight import find
from tests.support.seaweedfs import shared_server
from tests.support.servers import KEY, Server

pytestmark = pytest.mark.embedded("chooses itself where its installations are")

ROOT = Path(__file__).parents[2]
PAGE = "https://app.example.org"
COMPOSE = ("compose.yaml", "compose.production.yaml")
SERVICE_KEYS = {
    "build", "image", "init", "command", "environment", "ports", "volumes", "read_only", "cap_drop", "security_opt",
    "stop_grace_period", "restart", "depends_on", "healthcheck",
}  # fmt: skip
VARIABLES = {variable(name) for name in Settings.model_fields}


def command_words(text: str | list[str]) -> list[str]:
    return shlex.split(text) if isinstance(text, str) else text


def run(words: list[str], variables: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`filestead`, with these variables and none of the developer's."""
    program = [sys.executable, "-m", "filestead.cli.main"]
    environment = clean_environment() | variables
    return subprocess.run(
        [*program, *words], env=environment, capture_output=True, text=True, timeout=60, check=False, **options
    )


def tool(name: str) -> str:
    found = find(name)
    if found is None:
        pytest.skip(f"NO {name.upper()}: what needs it was NOT TESTED")
    return found


# --- compose ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=COMPOSE)
def composed(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / request.param).read_text())
    return loaded


def test_compose_files_hold_what_we_mean(composed: dict[str, Any]) -> None:
    assert {key for key in composed if not key.startswith("x-")} == {"services", "volumes"}
    mounted = set()
    for name, service in composed["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        own = service["image"] == "filestead"
        assert own == ("build" in service)
        assert own or re.fullmatch(r"[a-z/]+:[0-9.]+", service["image"]), "others' images are pinned to a version"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            place = volume.split(":")[0]
            assert (ROOT / place).is_file() if place.startswith("./") else place in composed["volumes"], volume
            mounted.add(place)
        wanted = service.get("depends_on", [])
        assert set(wanted) <= set(composed["services"]), name
        if own:
            assert command_words(service.get("command", "serve"))[0] in SERVER_COMMANDS
            assert service["read_only"] and service["cap_drop"] == ["ALL"]
            assert int(service["stop_grace_period"].rstrip("s")) > Settings.model_fields["shutdown_seconds"].default
            names = set(service.get("environment", {}))
            assert {one for one in names if not one.startswith("AWS_")} <= VARIABLES
    assert {place for place in mounted if not place.startswith("./")} == set(composed["volumes"])


def test_secrets_come_from_outside(composed: dict[str, Any]) -> None:
    for name, service in composed["services"].items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|ACCESS_KEY|BOOTSTRAP", key):
                assert re.fullmatch(r"\$\{[A-Z0-9_]+:\?\}", value), f"{name} {key}"
            assert "://" not in value or "@" not in value or ":${POSTGRES_PASSWORD:?}@" in value


def test_docker_takes_the_files() -> None:
    docker = tool("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("NO DOCKER COMPOSE: it has NOT READ the compose files")
    secrets = dict.fromkeys(("POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "FILESTEAD_BOOTSTRAP_KEY"), "word")
    for name in COMPOSE:
        words = [docker, "compose", "-f", name, "config", "--quiet"]
        done = subprocess.run(words, cwd=ROOT, env=os.environ | secrets, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


# --- the image --------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines]


def copied() -> list[str]:
    found = [arguments.split() for word, arguments in instructions() if word == "COPY"]
    return [source for words in found if not words[0].startswith("--from") for source in words[:-1]]


def test_the_image_is_made_of_what_is_there() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in copied():
        assert (ROOT / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") for one in allowed), f".dockerignore hides {source}"
    given = dict(instructions())
    assert given["USER"] == "10001:10001"
    names = {word.partition("=")[0] for word in given["ENV"].split()}
    assert {name for name in names if name.startswith("FILESTEAD_")} <= VARIABLES
    assert f"TMPDIR={given['VOLUME']}" in given["ENV"].split(), "the rest may be read-only"
    assert yaml.safe_load(given["ENTRYPOINT"]) == ["filestead"]
    assert yaml.safe_load(given["CMD"])[0] in SERVER_COMMANDS
    assert yaml.safe_load(given["HEALTHCHECK"].partition("CMD ")[2]) == ["filestead", "healthcheck"]
    assert given["EXPOSE"] == str(Settings.model_fields["port"].default)


def test_the_image_s_wheel_is_whole(tmp_path: Path) -> None:
    """Of what the image copies, and with its command."""
    for source in copied():
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path / source)
    recipe = next(arguments for word, arguments in instructions() if word == "RUN" and "pip wheel" in arguments)
    words = recipe.partition("&&")[0].split()[1:]
    words = [str(tmp_path / "wheels") if word == "/wheels" else word for word in words]
    subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, check=True, timeout=120)
    (wheel,) = (tmp_path / "wheels").glob("filestead-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/filestead").rglob("*.py")}
    assert package <= names
    for list_ in ("runtime", "build"):
        pinned = (ROOT / f"requirements/{list_}.txt").read_text()
        assert all("--hash=sha256:" in one for one in re.split(r"\n(?=[a-z])", pinned.strip())), list_
    for need in ("psycopg", "obstore", "opentelemetry-sdk"):
        assert re.search(rf"^{need}\S*==", (ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE), need


# --- systemd ----------------------------------------------------------------------------------------------------------


def test_the_unit_starts_what_there_is() -> None:
    text = (ROOT / "deploy/filestead.service").read_text()
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert values["ExecStart"].split()[1] in SERVER_COMMANDS
    assert values["Environment"].partition("=")[0] in VARIABLES
    assert values["RestartPreventExitStatus"] == "78"
    assert int(values["TimeoutStopSec"]) > Settings.model_fields["shutdown_seconds"].default


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    program = Path(sys.executable).with_name("filestead")
    text = (ROOT / "deploy/filestead.service").read_text().replace("/opt/filestead/bin/filestead", str(program))
    (tmp_path / "filestead.service").write_text(text)
    done = subprocess.run(
        [analyze, "verify", tmp_path / "filestead.service"], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "filestead" in line]
    assert ours == []


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def database() -> Iterator[OnServers]:
    """PostgreSQL and S3, and a database that `migrate` has not seen."""
    made = OnServers(shared_postgres(), shared_server(), f"deployed-{os.getpid()}-{time.monotonic_ns()}")
    made._made = True
    made.postgres.create(made.name)
    yield made
    made.postgres.drop(made.name)


def at_head(database: OnServers) -> str:
    return f"the database is at schema {schema.HEAD}; the bytes of its files are in s3://{database.seaweed.bucket}/{database.name}\n"


def test_healthcheck_says_whether_it_serves(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        for host in ("127.0.0.1", "0.0.0.0"):  # as the image listens
            done = run(["healthcheck"], {"FILESTEAD_PORT": str(server.port), "FILESTEAD_HOST": host})
            assert (done.returncode, done.stdout, done.stderr) == (0, '{"status": "ok"}\n', "")
    done = run(["healthcheck", "--port", str(server.port)], {})
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no answer from 127.0.0.1 port {server.port}: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_healthcheck_of_a_node_without_its_database(tmp_path: Path, database: OnServers) -> None:
    assert run(["migrate"], database.variables()).returncode == 0
    with Server(tmp_path / "node", env=database.variables()) as server:
        words = ["healthcheck", "--port", str(server.port)]
        assert run(words, {}).returncode == 0
        database.postgres.drop(database.name)
        done = run(words, {})
        assert (done.returncode, done.stdout) == (1, "")
        assert "Not ready" in done.stderr
        assert "secret-word" not in done.stderr + server.output


def test_migrate_again_and_at_once(database: OnServers) -> None:
    program = [sys.executable, "-m", "filestead.cli.main", "migrate"]
    environment = clean_environment() | database.variables()
    started = [
        subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in started:
        assert process.communicate(timeout=60) == (at_head(database), "")
        assert process.returncode == 0
    before = database.dump()
    assert run(["migrate"], database.variables()).stdout == at_head(database)
    assert database.dump() == before
    assert database.sql("SELECT count(*) FROM installation") == [(1,)]


def test_migrate_waits_as_long_as_it_is_told(database: OnServers) -> None:
    database.postgres.drop(database.name)
    program = [sys.executable, "-m", "filestead.cli.main", "migrate", "--wait", "60"]
    environment = clean_environment() | database.variables()
    process = subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True)
    while database.name not in database.postgres.log.rpartition("shut down")[2]:
        assert process.poll() is None
        time.sleep(0.02)
    database.postgres.create(database.name)
    assert process.communicate(timeout=60)[0] == at_head(database)


def test_a_node_before_migrate_says_what_to_do(database: OnServers) -> None:
    done = run(["serve", "--port", "0"], database.variables())
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.strip().splitlines()[-1].endswith("run `filestead migrate`")
    assert "secret-word" not in done.stderr


def test_a_node_with_another_store_than_migrate_is_refused(database: OnServers) -> None:
    right = database.variables()
    assert run(["migrate"], right).returncode == 0
    other = f"{right['FILESTEAD_BLOB_URL']}-other"
    for words in (["serve", "--port", "0"], ["migrate"]):
        done = run(words, right | {"FILESTEAD_BLOB_URL": other})
        assert (done.returncode, done.stdout) == (78, "")
        assert f"{other} does not belong to this database" in done.stderr
        assert "`filestead migrate` ran with another FILESTEAD_BLOB_URL" in done.stderr


@pytest.mark.parametrize("command", ["migrate", "serve", "verify"])
def test_a_password_is_never_shown(database: OnServers, command: str) -> None:
    right = database.variables()
    for url in (
        right["FILESTEAD_DATABASE_URL"],
        f"postgresql://ada:secret-word@127.0.0.1:{free_port()}/none",
        "postgresql://ada:secret-word@[nonsense/none",
        "secret-word",
    ):
        done = run([command], right | {"FILESTEAD_DATABASE_URL": url, "FILESTEAD_S3_ENDPOINT": "http://127.0.0.1:9"})
        assert done.returncode == 78, done
        assert "secret-word" not in done.stdout + done.stderr
        assert right["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("driver", "extra"), [("psycopg", "postgres"), ("obstore", "s3")])
def test_a_missing_driver_is_named(database: OnServers, driver: str, extra: str) -> None:
    code = f"import sys; sys.modules[{driver!r}] = None; from filestead.cli.main import main; main()"
    for command in ("migrate", "serve"):
        if command == "serve":
            assert run(["migrate"], database.variables()).returncode == 0
        done = subprocess.run(
            [sys.executable, "-c", code, command], env=clean_environment() | database.variables(),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (78, "")
        assert done.stderr.strip().endswith(f"pip install 'filestead[{extra}]'"), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


# --- two nodes behind the proxy ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("nodes")
    place = OnServers(shared_postgres(), shared_server(), f"proxied-{os.getpid()}")
    with (
        Server(folder / "node-1", place=place, cors_origins=PAGE) as one,
        Server(folder / "node-2", place=place, cors_origins=PAGE) as other,
    ):
        yield one, other


@pytest.fixture(scope="module")
def proxy(nodes: tuple[Server, Server]) -> Iterator[int]:
    """The port of nginx with our configuration, but for names and places."""
    nginx = tool("nginx")
    port = free_port()
    text = (ROOT / "deploy/nginx.conf").read_text().replace("listen 8080", f"listen 127.0.0.1:{port}")
    for number, node in enumerate(nodes, 1):
        text = text.replace(f"node-{number}:8080", f"127.0.0.1:{node.port}")
    with tempfile.TemporaryDirectory(prefix="filestead-nginx-") as folder:
        Path(folder).chmod(0o755)
        places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "client_body"))
        text = text.replace("http {", f"pid {folder}/pid; error_log {folder}/log; http {{ access_log off; {places}")
        (Path(folder) / "nginx.conf").write_text(text)
        words = [nginx, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/log"]
        checked = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        process = subprocess.Popen([*words, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
        try:
            for _ in range(1_500):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_an_upload_streams_through_the_proxy(proxy: int, nodes: tuple[Server, Server]) -> None:
    half = os.urandom(15_000_000)
    head = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    tail = b"\r\n--b--\r\n"
    length = len(head) + 2 * len(half) + len(tail)
    request = (
        f"POST /v1/files HTTP/1.1\r\nHost: files\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", proxy), timeout=60) as connection:
        connection.sendall(request.encode() + head + half)
        waiting = time.monotonic() + 30
        while not nodes[0].place.staged():  # a proxy that collects the body first has shown nothing to the node yet
            assert time.monotonic() < waiting, "the body does not stream"
            time.sleep(0.02)
        connection.sendall(half + tail)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
    found = re.search(rb'"id": ?"(file-\w+)"', answer)
    assert found is not None
    for node in nodes:
        assert node.client.get(f"/files/{found[1].decode()}/content").content == half + half


def test_the_longest_name_comes_back_through_the_proxy(proxy: int, nodes: tuple[Server, Server]) -> None:
    """Its head of 4 to 5 KiB is more than nginx takes unless it is told."""
    file = nodes[0].upload(b"long", name="🎉" * 255)
    url = f"http://127.0.0.1:{proxy}/v1/files/{file['id']}/content"
    response = nodes[0].client.get(url, headers={"origin": PAGE})
    assert (response.status_code, response.content) == (200, b"long")
    assert response.headers["access-control-allow-origin"] == PAGE
    assert len(str(response.headers["content-disposition"])) > 3300


def test_the_proxy_goes_on_with_one_node(proxy: int, nodes: tuple[Server, Server]) -> None:
    """The last test of the two: one does not come back."""
    client = nodes[1].client
    nodes[0].kill()
    for _ in range(4):
        assert client.get(f"http://127.0.0.1:{proxy}/v1/files").status_code == 200
    file = client.post(
        f"http://127.0.0.1:{proxy}/v1/files", data={"purpose": "user_data"}, files={"file": ("a.txt", b"hello")}
    )
    assert file.status_code == 200
