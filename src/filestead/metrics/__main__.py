"""`python -m filestead.metrics` prints docs/metrics.md."""

import sys

from filestead.metrics.docs import page

sys.stdout.write(page())
