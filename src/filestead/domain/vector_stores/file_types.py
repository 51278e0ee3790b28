"""Which files can be indexed, and how an attached file fails.

Source: the supported files of file search, and recorded `last_error` texts of the hosted service.
"""

from filestead.domain.vector_stores.model import IndexingError

_CODE = ("c", "cpp", "cs", "css", "go", "java", "js", "json", "php", "py", "rb", "sh", "tex", "ts")
_PLAIN = frozenset(f".{name}" for name in (*_CODE, "md", "txt"))
EXTENSIONS = _PLAIN | {".docx", ".html", ".pdf", ".pptx"}
"""Extensions whose text can be extracted. `.doc`, which the hosted service has too, is not among them."""

UNSUPPORTED_FILE = IndexingError("unsupported_file", "The file type is not supported.")
UNPARSABLE_FILE = IndexingError("invalid_file", "The file could not be parsed.")
TOO_LARGE_FILE = IndexingError("invalid_file", "The file could not be parsed because it is too large.")
EMPTY_FILE = IndexingError("invalid_file", "The file could not be parsed because it is empty.")
QUOTA_EXCEEDED = IndexingError(
    "server_error",
    "The index of the file does not fit into the storage quota. Delete files or have the quota raised, then attach the "
    "file again.",
)
SERVER_ERROR = IndexingError("server_error", "An internal error occurred.")


def unsupported_extension(filename: str) -> str | None:
    """Return the extension if files with it cannot be indexed, "none" for a name without one; None if they can."""
    extension = _extension(filename)
    if extension in EXTENSIONS:
        return None
    return extension or "none"


def is_plain_text(filename: str) -> bool:
    """Whether the content is the text itself, which no parser reads."""
    return _extension(filename) in _PLAIN


def _extension(filename: str) -> str:
    """The extension with its dot, in lower case. `pathlib` would intern the name (see `blobs/local/volume.py`)."""
    name = filename.rstrip("/").rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""
