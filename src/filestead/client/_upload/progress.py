"""Callbacks for progress around that of the caller."""

from filestead.client.config import OnProgress


class SentMeter:
    """Reports to the callback of the caller, and knows whether the whole file has been sent at least once.

    If not, no server can have stored it.
    """

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self.complete = False

    def __call__(self, done: int, size: int | None) -> None:
        """Record and report."""
        self.complete = self.complete or size is None or done >= size
        if self._on_progress is not None:
            self._on_progress(done, size)
