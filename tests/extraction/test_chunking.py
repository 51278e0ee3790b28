"""Chunks rebuild the text, have the configured sizes, and do not depend on how the text arrives."""

import itertools
import re
from collections.abc import Iterator

import pytest
import quicktok  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from filestead.extraction import tokens
from filestead.extraction.chunking import Chunk, StaticStrategy, chunks
from filestead.extraction.errors import InvalidFile, Reason
from filestead.extraction.tokens import Vocabulary, blocks, tokenizer

WORDS = "The quick brown fox, 12 of them: jumps 'over' the lazy dog's café — 日本語のテスト。Ünïcode 🎉👩‍👩‍👧 \n\n"

characters = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["🎉", "👩‍👩‍👧", "\u0301", "中文。", "a" * 50, " " * 30, "\r\n", "'s", "don't ", "<|endoftext|>", "==", "1234"]
    ),
    st.text("ab '\u0301\u0300.\n 1", max_size=20),
)
texts = st.builds(lambda parts, times: "".join(parts) * times, st.lists(characters, max_size=12), st.integers(1, 60))
sizes = st.integers(100, 260).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size // 2)))


def rebuilt(found: list[Chunk]) -> str:
    return "".join(chunk.text[chunk.overlap :] for chunk in found)


def pieces_of(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


@settings(deadline=None, max_examples=150)
@given(texts, sizes, st.sampled_from(Vocabulary))
def test_chunks_rebuild_the_text_and_keep_their_sizes(text: str, size: tuple[int, int], vocabulary: Vocabulary) -> None:
    most, overlap = size
    found = list(chunks([text], StaticStrategy(most, overlap), vocabulary=vocabulary))
    assert rebuilt(found) == text
    total = len(tokenizer(vocabulary).encode(text))
    assert all(0 < chunk.tokens <= most for chunk in found)
    assert all(chunk.text and chunk.tokens >= most - 3 for chunk in found[:-1])
    assert (len(found) <= 1) == (total <= most)
    for before, after in itertools.pairwise(found):
        assert before.text.endswith(after.text[: after.overlap])
    # Each window after the first adds what it does not share with the one before.
    shared = sum(chunk.tokens for chunk in found) - total
    boundaries = max(0, len(found) - 1)
    assert boundaries * (overlap - 3) <= shared <= boundaries * overlap


@settings(deadline=None, max_examples=60)
@given(texts, st.integers(1, 300), st.integers(2, 40))
def test_pieces_do_not_change_the_chunks(text: str, piece: int, block: int) -> None:
    before = tokens.MIN_BLOCK, tokens.MAX_BLOCK
    tokens.MIN_BLOCK, tokens.MAX_BLOCK = block, 2 * block
    try:
        whole = list(blocks([text]))
        assert list(blocks(pieces_of(text, piece))) == whole
        assert "".join(whole) == text
        assert all(len(each) <= 2 * block for each in whole)
    finally:
        tokens.MIN_BLOCK, tokens.MAX_BLOCK = before


@settings(deadline=None, max_examples=200)
@given(texts, st.sampled_from(Vocabulary))
def test_the_two_sides_of_every_safe_end_have_the_same_tokens_apart_as_together(
    text: str, vocabulary: Vocabulary
) -> None:
    encode = tokenizer(vocabulary).encode
    whole = encode(text)
    for found in list(tokens._SAFE_END.finditer(text))[:20]:
        assert encode(text[: found.end()]) + encode(text[found.end() :]) == whole


def test_a_long_text_has_the_tokens_of_the_whole() -> None:
    text = WORDS * 4000
    assert len(list(blocks([text]))) > 3
    assert sum(map(len, map(tokenizer().encode, blocks([text])))) == len(tokenizer().encode(text))
    found = list(chunks(pieces_of(text, 777)))
    assert rebuilt(found) == text
    assert {chunk.tokens for chunk in found[:-1]} <= set(range(797, 801))
    assert found == list(chunks([text]))


def test_overlap_is_exact_where_no_character_is_split() -> None:
    text = " word" * 3000
    found = list(chunks([text], StaticStrategy(800, 400)))
    assert [chunk.tokens for chunk in found] == [800] * 6 + [600]
    assert [chunk.overlap for chunk in found] == [0] + [400 * 5] * 6
    assert [chunk.overlap for chunk in chunks([text], StaticStrategy(800, 0))] == [0] * 4


def test_a_token_that_ends_inside_a_character_ends_no_chunk() -> None:
    text = "🫨" * 400  # three tokens each
    assert len(tokenizer().encode("🫨")) == 3
    found = list(chunks([text], StaticStrategy(100, 50)))
    assert {chunk.tokens for chunk in found[:-1]} == {99}
    assert {chunk.overlap for chunk in found[1:]} == {16}
    assert rebuilt(found) == text


@pytest.mark.parametrize("vocabulary", Vocabulary)
def test_each_character_begins_in_one_token(vocabulary: Vocabulary) -> None:
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x20000)]))
    loaded, encoding = tokenizer(vocabulary), quicktok.get_encoding(vocabulary.value)
    found = loaded.encode(text)
    assert sum(loaded.characters[token] for token in found) == len(text)
    encoded, start = text.encode(), 0
    for token in found:
        assert loaded.inside[token] == (encoded[start] & 0xC0 == 0x80)
        start += len(encoding.decode_single_token_bytes(token))
    assert start == len(encoded)


def test_names_of_special_tokens_are_text() -> None:
    assert len(tokenizer().encode("<|endoftext|>")) > 1


def test_counts_of_known_texts() -> None:
    """The numbers that tiktoken gives."""
    assert tokenizer(Vocabulary.O200K).encode("hello world") == [24912, 2375]
    assert tokenizer(Vocabulary.CL100K).encode("hello world") == [15339, 1917]


@pytest.mark.parametrize("text", ["", "a", "🎉"])
def test_short_texts(text: str) -> None:
    assert [(chunk.text, chunk.overlap) for chunk in chunks([text])] == ([(text, 0)] if text else [])


def test_too_many_tokens_are_noticed_as_they_come() -> None:
    read = []

    def endless() -> Iterator[str]:
        for number in itertools.count():
            read.append(number)
            yield " word" * 1000

    with pytest.raises(InvalidFile) as large:
        list(chunks(endless(), max_tokens=100_000))
    assert large.value.reason is Reason.TOO_LARGE
    assert len(read) < 150
    assert len(list(chunks([" word" * 1000], max_tokens=1000))) == 2
    with pytest.raises(InvalidFile):
        list(chunks([" word" * 1000], max_tokens=999))


@pytest.mark.parametrize("sizes", [(99, 0), (4097, 0), (800, 401), (800, -1), (100, 51)])
def test_sizes_outside_of_the_limits(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="_tokens is not within"):
        StaticStrategy(*sizes)


def test_the_defaults_and_the_extremes() -> None:
    assert StaticStrategy() == StaticStrategy(800, 400)
    for extreme in ((100, 50), (4096, 2048), (100, 0)):
        assert rebuilt(list(chunks([WORDS * 300], StaticStrategy(*extreme)))) == WORDS * 300


def test_safe_ends_are_frequent_in_prose_and_code() -> None:
    for text in (WORDS, "for (int i=0;i<n;i++) { a[i] = b; }\n", '{"a": [1, 2, 3], "b": "c"}'):
        assert len(re.findall(tokens._SAFE_END, text)) >= 2
