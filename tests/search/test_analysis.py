"""Terms of texts in many scripts, of identifiers, and of what is no text."""

import threading

import pytest

from filestead.search import analysis
from filestead.search.analysis import terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Flows of heated gases", ["flow", "heat", "gase"]),
        ("what is the to be or not", []),
        ("the plane's wing, don't they’ll", ["plane", "wing"]),
        ("Café naïve ÅNGSTRÖM cafe\u0301", ["cafe", "naiv", "angstrom", "cafe"]),
        ("ﬁne １２３ ＡＢＣ", ["fine", "123", "abc"]),
        ("STRASSE Straße", ["strass", "strass"]),
        ("й и Ёлка", ["й", "и", "ёлка"]),
        ("Ελλάδα ΕΛΛΑΔΑ", ["ελλάδα", "ελλαδα"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("سلام دنیا", ["سلام", "دنیا"]),
        ("東京都", ["東京", "京都"]),
        ("猫", ["猫"]),
        ("ABC株式会社2024", ["abc", "株式", "式会", "会社", "2024"]),
        ("ｶﾞｽ", ["ガス"]),
        ("한국어", ["한국", "국어"]),
        ("ครับ", ["คร", "รั", "ับ"]),
        ("co\u00adoperate", ["cooper"]),
        ("snake_case_word", ["snake_case_word", "snake", "case", "word"]),
        ("getUserName", ["getusernam", "get", "user", "name"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("__init__ _ ___", ["init"]),
        ("utf8 v2 B52", ["utf8", "v2", "b52"]),
        ("mach 2.5", ["mach", "2", "5"]),
        ("\ud800 lone", ["lone"]),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_case_and_form_of_a_query_do_not_matter() -> None:
    assert terms("HYPERSONIC Wings") == terms("hypersonic wing")


def test_a_part_of_an_identifier_finds_it() -> None:
    assert set(terms("user name")) <= set(terms("getUserName")) & set(terms("user_name"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ["a", "aB", "_a", "é", "漢", "e\u0301", "_", "A", " \u0301"])
def test_a_text_of_one_word_takes_no_longer_than_others(unit: str) -> None:
    assert len(terms(unit * 500_000)) <= 1_000_000


def test_many_different_words_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "_CACHED_WORDS", 10)
    monkeypatch.setattr(analysis._of_this_thread(), "known", {})  # other tests may have filled it
    words = [f"w{number}" for number in range(100)]
    assert terms(" ".join(words)) == words
    assert len(analysis._of_this_thread().known) <= 10


def test_threads_do_not_share_a_stemmer() -> None:
    text = " ".join(f"running{number} connected{number}" for number in range(3_000))
    expected = terms(text)
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(terms(text))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
