"""`python -m tests.fuzz [--check] READER [SECONDS]`: look for inputs that reach new code, and add them to the corpus.

With `--check` the corpus stays as it is, and only failures count; `make torture` does so. It needs atheris, which is not
among the tools that `make install` installs: it is a compiled package of 35 MB, for some machines only. `make torture`
installs it into a folder of its own. What it finds is committed, so that `make test` runs it everywhere.
"""

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.corpus import TOKENS, load, save

CHECK = "--check"
MAX_LENGTH = 600
"""Inputs are kept small, and the corpus readable."""


def main() -> int:
    """Run the fuzzer, in a process of its own; it ends with 0 unless an input fails."""
    arguments = [argument for argument in sys.argv[1:] if argument != CHECK]
    reader, seconds = arguments[0], int([*arguments, "60"][1])
    with tempfile.TemporaryDirectory() as folder:
        found, merged = Path(folder) / "found", Path(folder) / "merged"
        for each in (found, merged):
            each.mkdir()
        for number, data in enumerate(load(reader)):
            (found / str(number)).write_bytes(data)
            (merged / str(number)).write_bytes(data)  # what is there stays, also without new coverage
        words = Path(folder) / "words"
        words.write_text(
            "".join('"' + "".join(f"\\x{byte:02x}" for byte in token[:100]) + '"\n' for token in TOKENS[reader])
        )
        options = [f"-max_len={MAX_LENGTH}", "-timeout=20", f"-artifact_prefix={folder}/failed-"]
        program = Path(folder) / "fuzz"  # a merge starts it again, by its path
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz --run {reader} "$0" "$@"\n')
        program.chmod(0o700)
        done = subprocess.run(
            [program, *options, f"-dict={words}", f"-max_total_time={seconds}", str(found)], check=False
        )
        for failed in Path(folder).glob("failed-*"):
            print(f"{reader} fails on {failed.read_bytes()!r}")
        if done.returncode == 0 and CHECK not in sys.argv:
            subprocess.run([program, *options, "-merge=1", str(merged), str(found)], check=True)
            inputs = [path.read_bytes() for path in merged.iterdir()]
            print(f"{reader}: {len(load(reader))} inputs before, {len(inputs)} now")
            save(reader, inputs)
        return done.returncode


def run(reader: str, program: str, options: list[str]) -> None:
    """The process of the fuzzer: import what is read with instrumentation, and start."""
    import atheris

    with atheris.instrument_imports(include=["filestead.api.http", "filestead.domain.jsonl", "filestead.server.http1"]):
        from tests.fuzz.readers import READERS

    atheris.Setup([program, *options], READERS[reader])
    with contextlib.suppress(KeyboardInterrupt):
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        sys.exit(main())
