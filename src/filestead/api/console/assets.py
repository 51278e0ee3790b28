"""The static files of the console: read once, compressed once, and named by their digest.

Every file but the page is served under a path that contains the digest of all of them, so a browser may cache it for a
year, and modules find each other by relative paths. There is no build step.
"""

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
PAGE = "index.html"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""By extension. Files with other extensions (licences, notes) are not served."""

LOADED_ON_DEMAND = "lang/"
"""Modules of which a browser needs at most one, so the page does not preload them."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    media_type: str
    content: bytes
    compressed: bytes


class Assets:
    """All files of the console, read when the first one is requested."""

    def __init__(self, paths: Iterable[str], version: str) -> None:
        """`paths` are those of the API's operations: the page offers what the server has."""
        self._paths = sorted(set(paths))
        self._version = version

    @cached_property
    def files(self) -> dict[str, Asset]:
        """Path below the folder -> file; without the page."""
        found = {}
        for path in sorted(FOLDER.rglob("*")):
            if path.suffix in MEDIA_TYPES and path.name != PAGE:
                found[path.relative_to(FOLDER).as_posix()] = _asset(path.suffix, path.read_bytes())
        return found

    @cached_property
    def digest(self) -> str:
        """Of the names and contents of all files: 16 hexadecimal digits."""
        together = hashlib.sha256()
        for name, asset in self.files.items():
            together.update(f"{name}\0{len(asset.content)}\0".encode() + asset.content)
        return together.hexdigest()[:16]

    @cached_property
    def page(self) -> Asset:
        """The page, with the digest in its links, and with links that load all modules at once."""
        modules = [
            name for name in self.files if name.endswith(("js", "mjs")) and not name.startswith(LOADED_ON_DEMAND)
        ]
        preloads = "\n".join(f'<link rel="modulepreload" href="/console/{self.digest}/{name}">' for name in modules)
        text = (FOLDER / PAGE).read_text()
        for mark, value in (
            ("<!-- modules -->", preloads),
            ("@digest@", self.digest),
            ("@version@", self._version),
            ("@paths@", " ".join(self._paths)),
        ):
            text = text.replace(mark, value)
        return _asset(".html", text.encode())


def _asset(suffix: str, content: bytes) -> Asset:
    return Asset(MEDIA_TYPES[suffix], content, gzip.compress(content, 9, mtime=0))
