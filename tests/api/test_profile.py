"""The profile that was chosen is the one that is tested."""

import pytest

from tests.support.servers import Server


def test_rows_and_bytes_are_where_the_profile_has_them(server: Server, pytestconfig: pytest.Config) -> None:
    before = server.place.stored()
    file = server.upload(bytes(20_000))  # a smaller one is a row
    ((key,),) = server.place.sql("SELECT blob_key FROM files WHERE id = ?", file["id"])
    assert server.place.stored() - before == {key}
    local = {path.name for path in server.data_dir.rglob("*")}
    embedded = pytestconfig.getoption("profile") == "embedded"
    assert ("filestead.db" in local) is (key in local) is embedded
