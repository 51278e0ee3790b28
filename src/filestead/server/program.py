"""The command that runs this installation of `filestead`, for lines that users can paste."""

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

NAME = "filestead"


def program() -> str:
    """Return `filestead` if the shell finds this installation by that name, else the script's path or a Python command.

    A path below the working directory is relative to it, as in `.venv/bin/filestead`.
    """
    script = Path(sysconfig.get_path("scripts"), NAME)
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m filestead.cli.main"
    found = shutil.which(NAME)
    if found is not None and os.path.samefile(found, script):
        return NAME
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))
