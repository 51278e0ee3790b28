"""A shared installation whose nodes reach PostgreSQL through a PgBouncer that pools transactions."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.databases import shared_postgres
from tests.support.installations import OnServers
from tests.support.pgbouncer import shared_pgbouncer
from tests.support.seaweedfs import shared_server
from tests.support.servers import Server, run_command


class Pooled(OnServers):
    """Its nodes and commands do not know the server's own address."""

    def variables(self) -> dict[str, str]:
        if not self._made:
            self.postgres.create(self.name)
            self._made = True  # the test migrates, through the pool
        return super().variables() | {"FILESTEAD_DATABASE_URL": shared_pgbouncer(self.postgres).url_of(self.name)}


def test_migrate_and_two_nodes_work_through_transaction_pooling(tmp_path: Path) -> None:
    place = Pooled(shared_postgres(), shared_server(), "pooled")
    place.variables()
    with ThreadPoolExecutor(3) as pool:
        migrated = list(pool.map(lambda _: run_command(Path("nowhere"), "migrate", place=place), range(3)))
    assert [done.returncode for done in migrated] == [0] * 3, migrated
    options = {"place": place, "uploads_per_minute": 0}
    with Server(tmp_path / "one", **options) as one, Server(tmp_path / "two", **options) as two:
        nodes = [one, two]

        def use(number: int) -> str:
            content = b"%d" % number * 1_000
            file_id = nodes[number % 2].upload(content)["id"]
            other = nodes[(number + 1) % 2].client
            assert other.get(f"/files/{file_id}/content").content == content
            if number % 3 == 0:
                assert other.delete(f"/files/{file_id}").status_code == 200
                return ""
            return str(file_id)

        with ThreadPoolExecutor(12) as clients:
            kept = {file_id for file_id in clients.map(use, range(60)) if file_id}
        assert {file["id"] for file in one.client.get("/files").json()["data"]} == kept
        assert two.client.get(two.base_url.removesuffix("/v1") + "/health/ready").status_code == 200
    verified = run_command(Path("nowhere"), "verify", "--deep", place=place)
    assert verified.returncode == 0, verified.stdout
