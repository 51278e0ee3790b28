"""What is in flight to one endpoint beside batches."""

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Requests that somebody waits for; batches leave their places to them."""

    interactive: int = 0
