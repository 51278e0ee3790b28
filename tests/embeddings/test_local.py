"""The static vectors of the extra `search`, and their tokens."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from filestead.domain.errors import CannotStart
from filestead.domain.vector_stores.embeddings import LOCAL_DIMENSIONS, LOCAL_MODEL
from filestead.embeddings import local, package
from filestead.embeddings.embedders import ConfiguredEmbedders
from filestead.embeddings.tokenizer import WORD_CHARACTERS, Tokenizer

if importlib.util.find_spec(package.PACKAGE) is None:
    pytest.skip("wordllama is not installed: the static vectors were NOT tested", allow_module_level=True)


def similarity(one: str, other: str) -> float:
    first, second = (np.frombuffer(vector, "<f4") for vector in local.load().embed([one, other]))
    return float(first @ second)


def test_a_vector_has_length_one_and_the_known_dimensions() -> None:
    (vector,) = local.load().embed(["The wings of a bird lift it."])
    assert len(vector) == 4 * LOCAL_DIMENSIONS
    assert np.linalg.norm(np.frombuffer(vector, "<f4")) == pytest.approx(1, abs=1e-5)


def test_texts_of_like_meaning_are_near() -> None:
    assert similarity("a doctor treats the sick", "medicine for a patient") > 0.2
    assert similarity("a doctor treats the sick", "interest rates of a bank") < 0.1


def test_texts_without_tokens_have_no_direction() -> None:
    assert local.load().embed(["", " \n"]) == [bytes(4 * LOCAL_DIMENSIONS)] * 2


@pytest.mark.parametrize("text", ["\ud800", "日本語", "x" * 100_000, "\0\1", "naïve \U0001f600"])
def test_any_text_has_a_vector(text: str) -> None:
    (vector,) = local.load().embed([text])
    assert np.linalg.norm(np.frombuffer(vector, "<f4")) == pytest.approx(1, abs=1e-5)


def tokenizer(folder: Path) -> Tokenizer:
    tokens = ["a", "b", "c", "ab", "abc", "\u2581", "\u2581abc", "\u2581a", *(f"<0x{n:02X}>" for n in range(256))]
    model = {"vocab": {token: n for n, token in enumerate(tokens)}, "merges": ["a b", "ab c", "\u2581 abc"]}
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({"model": model}))
    return Tokenizer(path)


def test_pairs_are_merged_by_their_rank(tmp_path: Path) -> None:
    made = tokenizer(tmp_path)
    assert made.encode("abc") == [6]
    assert made.encode("aab c") == [5, 0, 3, 5, 2]
    assert made.encode("é") == [5, 8 + 0xC3, 8 + 0xA9]
    assert made.encode("  \n ") == []


def test_a_long_word_is_cut(tmp_path: Path) -> None:
    made = tokenizer(tmp_path)
    assert len(made.encode("c" * (2 * WORD_CHARACTERS))) == 2 * WORD_CHARACTERS + 1


def test_without_the_package_the_start_tells_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "PACKAGE", "no_such_package")
    with pytest.raises(CannotStart, match=r"pip install 'filestead\[search\]'"):
        ConfiguredEmbedders(LOCAL_MODEL, None)
