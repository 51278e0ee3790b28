"""Opening a data directory, where it does not take a server to see it."""

import os
import stat
from pathlib import Path

import pytest

from filestead import installation, settings
from filestead.domain.blobs import ContentOwner, StoredContent
from filestead.installation import EmbeddedInstallation
from filestead.installation.backends import ID_ALPHABET
from filestead.installation.backup import _is_stored


def test_every_directory_on_the_way_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    before = os.umask(0o022)
    try:
        with EmbeddedInstallation(settings.load(data_dir=tmp_path / "a" / "b")).prepare():
            pass
    finally:
        os.umask(before)
    root = tmp_path / "a" / "b"
    assert {tmp_path, tmp_path / "a", root, root / "blobs", root / "VOLUME"} <= set(synced)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_ids_are_of_the_hosted_form_and_differ() -> None:
    made = {installation.new_id("file-") for _ in range(10_000)}
    assert len(made) == 10_000
    assert all(len(one) == 27 and one.removeprefix("file-").isalnum() and one.isascii() for one in made)
    used = set("".join(one.removeprefix("file-") for one in made))
    assert used == set(ID_ALPHABET)


def test_a_backup_looks_for_no_blob_of_a_tampered_key(tmp_path: Path) -> None:
    """S-09: neither in the backup nor in an earlier one, whatever is where the key leads."""
    backup, base = tmp_path / "backup", tmp_path / "base"
    for folder in (backup, base):
        (folder / "blobs").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"four")
    (base / "blobs" / "secret").write_bytes(b"four")
    for key in ("../../secret", "..//../secret", "secret", str(tmp_path / "secret")):
        content = StoredContent(key, 4, "0" * 64, ContentOwner.FILE, "proj_1", "file-1")
        assert not _is_stored(content, backup, base)
    assert list((backup / "blobs").iterdir()) == []
