"""The zip archive and its relationships.

Members are inflated as a stream within limits. Nothing is written to disk or opened by its name, and archives within
the archive are not opened.
"""

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from filestead.extraction.errors import InvalidFile, Reason, unparsable
from filestead.extraction.ooxml import xml

BLOCK_BYTES = 64 * 1024
PART_BYTES = 256 * 1024 * 1024
"""Inflated bytes of one part. Two million tokens of text with dense formatting take about a third."""
DOCUMENT_BYTES = 512 * 1024 * 1024
"""Inflated bytes of all parts that are read."""
RATIO = 300
"""Inflated to packed bytes of a part above `RATIO_FROM`; repetitive tables reach about 100, a bomb 1,000."""
RATIO_FROM = 8 * 1024 * 1024
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Package:
    """The parts of a document by their names."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise unparsable(f"zip: {error}") from None
        self._claimed = 0

    def __contains__(self, part: str) -> bool:
        return part in self._archive.NameToInfo

    def read(self, part: str) -> Iterator[bytes]:
        """Yield the inflated bytes of a part in blocks. Raises `InvalidFile`."""
        info = self._archive.NameToInfo.get(part)
        if info is None:
            raise unparsable(f"no part {part}")
        if info.compress_type not in _METHODS or info.flag_bits & 1:
            raise unparsable(f"{part}: compression or encryption of the zip member")
        self._check_claims(info)
        size = 0
        try:
            with self._archive.open(info) as member:
                while block := member.read(BLOCK_BYTES):
                    size += len(block)
                    yield block
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise unparsable(f"{part}: {error}") from None
        if size != info.file_size:
            raise unparsable(f"{part}: {size} bytes, but {info.file_size} are claimed")

    def _check_claims(self, info: zipfile.ZipInfo) -> None:
        """Check the claimed sizes; the archive reader never yields more bytes than a member claims."""
        self._claimed += info.file_size
        if info.file_size > PART_BYTES or self._claimed > DOCUMENT_BYTES:
            raise InvalidFile(Reason.TOO_LARGE, f"{info.filename}: {info.file_size} bytes")
        if info.file_size > RATIO_FROM and info.file_size > info.compress_size * RATIO:
            raise InvalidFile(Reason.TOO_LARGE, f"{info.filename}: compressed more than {RATIO} to 1")

    def relationships(self, part: str) -> dict[str, tuple[str, str]]:
        """Return ID -> (last segment of the type, part) of the internal relationships; "" is the package itself."""
        folder, name = posixpath.split(part)
        source = posixpath.join(folder, "_rels", f"{name}.rels")
        found: dict[str, tuple[str, str]] = {}
        if source not in self:
            return found

        def start(name: str, attributes: dict[str, str]) -> None:
            if name == "Relationship" and attributes.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, attributes.get("Target", "")))
                kind = attributes.get("Type", "").rpartition("/")[2]
                found[attributes.get("Id", "")] = (kind, target.lstrip("/"))

        xml.parse(self.read(source), start)
        return found

    def main_part(self, default: str) -> str:
        """Return the name of the part with the document."""
        return next((target for kind, target in self.relationships("").values() if kind == "officeDocument"), default)
