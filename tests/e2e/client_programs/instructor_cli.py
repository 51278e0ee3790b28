"""instructor's `files` commands. Its `download` calls what the official package has never had, so it is left out."""

import os
import re
import subprocess
import sys
from pathlib import Path

from steps import SOURCE, say

PROGRAM = Path(sys.executable).with_name("instructor")
ENVIRONMENT = os.environ | {"COLUMNS": "200"}  # it cuts ids in its table to the width of the terminal


def files(*words: str) -> str:
    done = subprocess.run(
        [PROGRAM, "files", *words], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


made = re.search(r"file-\w+", files("upload", str(SOURCE), "--purpose", "batch"))
if made is None:
    sys.exit("upload printed no id")
say("upload", id=made[0])
say("list", ids=re.findall(r"file-\w+", files("list")))
files("status", made[0])  # ends when the file is processed
say("delete", deleted=f"{made[0]} deleted" in " ".join(files("delete", made[0]).split()))
