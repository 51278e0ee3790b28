"""Where downloads are redirected to the object store, the console gets them from the server: its policy allows no other host."""

import tempfile
from pathlib import Path

import pytest

from tests.console.conftest import Open
from tests.support.installations import OnDisk
from tests.support.servers import Server


def test_the_console_reads_contents_from_the_server(opened: Open, server: Server) -> None:
    if isinstance(server.place, OnDisk):
        pytest.skip("an embedded installation redirects no download")
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder), place=server.place, download_redirect="true", inline_bytes="0") as redirecting,
    ):
        file = redirecting.upload(b'{"custom_id": "a"}\n', purpose="evals", name="a.jsonl")
        assert redirecting.client.get(f"/files/{file['id']}/content").status_code == 302
        page = opened(f"files/{file['id']}", at=redirecting.origin)
        page.wait_for("ol.lines", "custom_id")
