"""Loads everything that extraction would load later, for a process that cannot open files once it has begun a task."""

import contextlib
import encodings
import importlib
import pkgutil

import pypdf

from filestead.extraction.formats import FORMATS
from filestead.extraction.tokens import Vocabulary, tokenizer


def preload(vocabulary: Vocabulary = Vocabulary.O200K) -> None:
    """Import the modules of all parsers and codecs, and load a vocabulary."""
    assert FORMATS  # imports every parser
    for package in (encodings, pypdf):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            with contextlib.suppress(ImportError):  # codecs of other systems, optional packages
                importlib.import_module(module.name)
    tokenizer(vocabulary)
