"""What is deleted leaves the disk: bytes of files that are blobs of their own, and of uploads that were given up."""

import secrets
import time
from pathlib import Path

import pytest

from tests.support.parts import add_part, create_upload
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("it reads the files of a data directory")
LARGE = 64 * 1024
"""Smaller files are rows of the database, whose free pages keep their bytes until they are used again."""


def holds(folder: Path, mark: bytes) -> list[Path]:
    """The files that have the mark."""
    return [path for path in folder.rglob("*") if path.is_file() and mark in path.read_bytes()]


def test_bytes_of_a_deleted_file_and_of_a_cancelled_upload_are_gone(server: Server) -> None:
    mark = secrets.token_hex(16).encode()
    content = mark * (LARGE // len(mark))
    file_id = server.upload(content)["id"]
    upload_id = create_upload(server.client, LARGE)["id"]
    add_part(server.client, upload_id, content)
    assert len(holds(server.data_dir, mark)) == 2
    assert server.client.delete(f"/files/{file_id}").status_code == 200
    assert server.client.post(f"/uploads/{upload_id}/cancel").status_code == 200
    deadline = time.monotonic() + 30
    while left := holds(server.data_dir, mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
