"""Where the static vectors are: files of the package `wordllama`, whose code is never run."""

import importlib.util
from pathlib import Path

from filestead.domain.errors import CannotStart

PACKAGE = "wordllama"
WEIGHTS = "weights/l2_supercat_256.safetensors"
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"


def require() -> Path:
    """Return the folder of the package, and check that it has the files. Raises `CannotStart` otherwise."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise CannotStart(
            "FILESTEAD_EMBEDDINGS=local needs the static vectors: pip install 'filestead[search]', or set it to off"
        )
    folder = Path(found.origin).parent
    for name in (WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise CannotStart(
                f"the installed version of {PACKAGE} has no {name}, which FILESTEAD_EMBEDDINGS=local needs: install "
                "the version that 'filestead[search]' names"
            )
    return folder
