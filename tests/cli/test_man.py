"""The man page: made from the tables, complete, well-formed, and installed with the wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

from filestead.cli import man
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.command_names import SERVER_COMMANDS
from filestead.cli.help import flag_names
from tests.e2e.programs import find_program

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/filestead.1"


def test_the_page_is_as_the_tables_have_it() -> None:
    done = subprocess.run([sys.executable, "-m", "filestead.cli.man"], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == PAGE.read_text(), "run `make docs`"


def test_the_page_reads_well() -> None:
    command = [find_program("groff"), "-man", "-Tutf8", "-ww", "-rLL=200n", PAGE]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, env={"GROFF_NO_SGR": "1"})
    assert done.stderr == b""
    text = done.stdout.decode()
    for letter in set(text):  # Bold characters are struck twice.
        text = text.replace(f"{letter}\b{letter}", letter)
    words = " ".join(text.split())
    for group in GROUPS.values():
        for command_ in group.commands:
            assert f"{command_.title} {command_.help}." in words
            assert all(flag_names(flag) in words for flag in command_.flags)
            assert all(" ".join(line.split()) in words for _, line in command_.examples)
    assert all(name in words for name in SERVER_COMMANDS)


def test_text_has_no_meaning_for_roff() -> None:
    assert man._escape(".SH a\\b -c 'd' `e`") == "\\&.SH a\\eb \\-c \\(aqd\\(aq \\(gae\\(ga"


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, capture_output=True, timeout=120, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = [name for name in files.namelist() if name.endswith("share/man/man1/filestead.1")]
        assert ".data/data/" in name
        assert files.read(name) == PAGE.read_bytes()
