"""What runs the parts of `make torture`: beside each other, each within its time, whatever becomes of the others."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import torture
from tests.support.torture import Part, run_parts

pytestmark = pytest.mark.embedded("needs no server")


def part(folder: Path, name: str, minutes: float, line: str) -> Part:
    test = folder / f"test_{name}.py"
    test.write_text(f"import pathlib, time\n\n\ndef test_it():\n    {line}\n")
    return Part(name, minutes, (str(test), "-p", "no:cacheprovider", "-c", "/dev/null"))


def test_each_part_has_its_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torture, "END_SECONDS", 2)
    slow = part(tmp_path, "slow", 0.05, "time.sleep(60)")
    wrong = part(tmp_path, "wrong", 1, "print('the seed'); assert 0")
    good = part(tmp_path, "good", 1, "pass")
    assert run_parts([slow, wrong, good], tmp_path) == 1
    text = capsys.readouterr().out
    assert "the seed" in text
    outcomes = sorted(text.splitlines()[-3:])
    assert outcomes[0].startswith("good: ok (")
    assert outcomes[1].startswith("slow: took longer than 0.05 minutes (")
    assert outcomes[2].startswith("wrong: it ended with 1 (")
    assert run_parts([good], tmp_path) == 0


def test_parts_run_beside_each_other(tmp_path: Path) -> None:
    lines = [
        f"pathlib.Path({str(tmp_path / mine)!r}).touch()\n"
        f"    while not pathlib.Path({str(tmp_path / other)!r}).exists(): time.sleep(0.01)"
        for mine, other in (("a", "b"), ("b", "a"))
    ]
    assert run_parts([part(tmp_path, f"part{number}", 1, line) for number, line in enumerate(lines)], tmp_path) == 0


def test_nothing_runs_beside_a_part_that_measures_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [
        f"log = pathlib.Path({str(log)!r}).open('a', buffering=1); print('{name} begins', file=log)\n"
        f"    time.sleep(0.3); print('{name} ends', file=log)"
        for name in ("first", "alone", "last")
    ]
    parts = [part(tmp_path, f"part{number}", 1, line) for number, line in enumerate(lines)]
    assert run_parts([parts[0], replace(parts[1], is_alone=True), parts[2]], tmp_path) == 0
    events = [f"{name} {event}" for name in ("first", "alone", "last") for event in ("begins", "ends")]
    assert log.read_text().splitlines() == events


def test_all_parts_end_in_their_common_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torture, "END_SECONDS", 2)
    monkeypatch.setattr(torture, "MINUTES", 0.03)
    monkeypatch.setattr(torture, "AT_ONCE", 2)
    parts = [part(tmp_path, name, 1, "time.sleep(60)") for name in ("first", "second", "third")]
    assert run_parts(parts, tmp_path) == 1
    lines = sorted(capsys.readouterr().out.splitlines()[-3:])
    assert lines[2] == "third: was not started: the 0.03 minutes of all parts are over"
    assert all("had not ended after the 0.03 minutes of all parts" in line for line in lines[:2])
