"""The real `filestead` command, which appends each string that its modules intern to the file INTERNED.

`pathlib` interns the parts of a path. Early releases of Python 3.12 never free an interned string.
"""

import os
import sys

_intern = sys.intern
_file = os.open(os.environ["INTERNED"], os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _recorded(string: str) -> str:
    os.write(_file, f"{string!r}\n".encode())
    return _intern(string)


sys.intern = _recorded

from filestead.cli.main import main  # noqa: E402, F401
