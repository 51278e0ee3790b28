"""The socket that the workers share."""

import contextlib
import os
from pathlib import Path

from filestead import installation, settings
from filestead.server import run


def test_a_duplicate_of_the_listening_socket_leaves_it_non_blocking(tmp_path: Path) -> None:
    """Else a worker that starts makes another one wait in `accept`, with the requests of its open connections."""
    place = settings.load(data_dir=str(tmp_path), port="0")
    with (
        contextlib.closing(run._bind(place, installation.from_settings(place))) as listeners,
        contextlib.closing(listeners.api.dup()) as duplicate,
    ):
        assert not os.get_blocking(listeners.api.fileno())
        assert not os.get_blocking(duplicate.fileno())
