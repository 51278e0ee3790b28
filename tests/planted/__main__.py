"""`python -m tests.planted [ID ...]`: plants each of the named bugs, or all, and prints which of them a test has caught.

First the same tests run without a bug: one that is red anyway proves nothing.
"""

import signal
import subprocess
import sys

from tests.planted.catalogue import BUGS
from tests.planted.runner import plant, table, without


def main() -> int:
    """1 if a bug was not caught, 2 for an unknown id."""
    for number in (signal.SIGINT, signal.SIGTERM):  # so that the tests in progress are stopped, too
        signal.signal(number, signal.default_int_handler)
    known = {bug.id: bug for bug in BUGS}
    if unknown := [name for name in sys.argv[1:] if name not in known]:
        print(f"there is no planted bug {unknown[0]}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    bugs = [known[name] for name in sys.argv[1:]] or list(BUGS)
    try:
        problem = without(bugs)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    outcomes = []
    for bug in bugs:
        outcomes.append(plant(bug))
        print(f"{bug.id}: {outcomes[-1].text} ({outcomes[-1].seconds:.1f} s)", flush=True)
    caught = sum(outcome.caught for outcome in outcomes)
    print(f"\n{table(outcomes)}\n\n{caught} of {len(outcomes)} planted bugs were caught")
    if problem is not None:
        print(problem)
    return int(problem is not None or caught < len(outcomes))


if __name__ == "__main__":
    sys.exit(main())
