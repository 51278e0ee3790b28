"""How much longer an upload takes because its lines are checked: large files as customers have them, in turns."""

import itertools
import json
import os
from pathlib import Path

from bench.load import curl, upload
from bench.nginx import Nginx
from bench.plan import MIB, Bench, WrongAnswer, discard
from bench.report import Goal, Row
from tests.support.servers import Server

PROMPT = "the quick brown fox jumps over the lazy dog " * 94
"""4 KB: 200 MB are a little less than the 50,000 lines that a batch may have."""


def measure_checked_uploads(bench: Bench, _: Nginx | None) -> list[Row]:
    """Each file with the purpose whose lines are checked, and with one whose lines are not."""
    with bench.filestead() as server:
        return [
            _row(bench, server, f"batch file, {bench.plan.batch_file_bytes // MIB} MB", "batch", Goal(1.3, of="ratio")),
            _row(
                bench,
                server,
                f"fine-tuning file, {bench.plan.training_lines:,} lines",
                "fine-tune",
                Goal(2, of="ratio"),
            ),
        ]


def _row(bench: Bench, server: Server, name: str, purpose: str, goal: Goal) -> Row:
    path = bench.directory / f"{purpose}.jsonl"
    if purpose == "batch":
        _write_batch(path, bench.plan.batch_file_bytes)
    else:
        _write_chats(path, bench.plan.training_lines)
    checked, plain = [], []
    for _round in range(1 + bench.plan.rounds):
        checked.append(_upload(server, path, purpose))
        plain.append(_upload(server, path, "user_data"))
    path.unlink()
    return Row(
        measure=f"checked upload: {name}",
        unit="s",
        ours=checked[1:],
        against="unchecked",
        reference=plain[1:],
        goal=goal,
    )


def _upload(server: Server, path: Path, purpose: str) -> float:
    os.sync()  # what the upload before has left to write would be counted in this one
    done = curl(*(part.replace("purpose=user_data", f"purpose={purpose}") for part in upload(server, path)))
    if done.status != 200:
        raise WrongAnswer(f"an upload ended with {done.status}: {done.body[:200]!r}")
    discard(server, json.loads(done.body)["id"])
    return done.seconds


def _write_batch(path: Path, size: int) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
    common = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    with path.open("w") as file:
        for number in itertools.count():
            line = json.dumps({"custom_id": f"r-{number}", **common}) + "\n"
            if file.tell() + len(line) > size:
                break
            file.write(line)


def _write_chats(path: Path, lines: int) -> None:
    with path.open("w") as file:
        for number in range(lines):
            question = {"role": "user", "content": f"What is {number}?"}
            file.write(json.dumps({"messages": [question, {"role": "assistant", "content": "A number"}]}) + "\n")
