"""Generates the synchronous modules of the client from the asynchronous ones; `--check` only compares them.

The rules replace text, in code and docstrings alike. ruff then formats, removes unused imports and writes `yield from`.
"""

import difflib
import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "src/filestead/client"
MODULES = {
    "aio.py": "sync.py",
    "_download/async_transfer.py": "_download/transfer.py",
    "_transport/async_session.py": "_transport/session.py",
    "_parts/async_creation.py": "_parts/creation.py",
    "_parts/async_upload.py": "_parts/upload.py",
}
RULES = (
    (r"\bawait in_thread\(([\w.]+)(?:, )?", r"\1("),  # work that may block is called directly
    (r"\bawait ", ""),
    (r"\basync (?=def |for |with )", ""),
    (r"`async with`", "`with`"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"async_", ""),
    (r"\b__a(?=enter__|exit__)", "__"),
    (r"\ba(?=closing\b|close\b|iter_raw\b)", ""),
    (r"(?m)^import asyncio$", "import time"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\basynchronous\b", "synchronous"),
    (r"\bTasks of one event loop\b", "Threads"),
)


def generate(source: str) -> str:
    """The text of the synchronous module for an asynchronous one."""
    text = (CLIENT / source).read_text()
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    if left := re.search(r".*(?:\basync|await|asyncio|event loop).*", text, re.IGNORECASE):
        raise SystemExit(f"{source}: no rule for: {left[0].strip()}")
    text = f"# Generated from {source} by scripts/generate_sync_client.py: edit that file.\n{text}"
    for arguments in (["check", "--quiet", "--fix", "--unsafe-fixes", "--select", "F401,I,UP028"], ["format"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", CLIENT / MODULES[source], "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main() -> None:
    """Write the synchronous modules, or with `--check` print how they differ and exit with status 1."""
    check = sys.argv[1:] == ["--check"]
    stale = False
    for source, target in MODULES.items():
        path = CLIENT / target
        old, new = path.read_text() if path.exists() else "", generate(source)
        if check:
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), target, "generated"))
        elif old != new:
            path.write_text(new)
        stale = stale or old != new
    if check and stale:
        raise SystemExit("the synchronous client is not generated from the asynchronous one; run `make docs`")


if __name__ == "__main__":
    main()
