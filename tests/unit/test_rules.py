"""The small rules of the domain: purposes, expiry, names, rate arithmetic, keys."""

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filestead.domain import access, rate_limit
from filestead.domain.access import DEFAULT_SCOPES, Principal, Scope
from filestead.domain.errors import (
    BadAnchor,
    BadExpirySeconds,
    BadFilename,
    DownloadRefused,
    IncompleteExpiry,
    UnknownPurpose,
    UnsupportedExtension,
)
from filestead.domain.files import expiry, filenames, purposes
from filestead.domain.files.model import ExpiresAfter, Limits
from filestead.domain.quota import Quota

LIMITS = Limits(1000, 200, Quota(None, None), 0, 2_592_000)
USER = Principal("k", "u", "p", "p", "o", "o", DEFAULT_SCOPES)
SYSTEM = Principal("k", "u", "p", "p", "o", "o", DEFAULT_SCOPES | {Scope.SYSTEM})
INPUT = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
OUTPUT = ("assistants_output", "batch_output", "fine-tune-results")


def test_the_purposes_and_their_order_are_those_of_the_hosted_service() -> None:
    assert purposes.INPUT_PURPOSES == INPUT
    assert set(purposes.ALL_PURPOSES) == {*INPUT, *OUTPUT}


@pytest.mark.parametrize("purpose", INPUT)
def test_every_key_may_set_input_purposes(purpose: str) -> None:
    assert purposes.require_creatable(purpose, USER)
    assert purposes.require_creatable(purpose, SYSTEM)


@pytest.mark.parametrize("purpose", [*OUTPUT, "", "Batch", "batch ", "fine_tune", "x"])
def test_other_purposes_are_refused_without_the_system_scope(purpose: str) -> None:
    with pytest.raises(UnknownPurpose) as refused:
        purposes.require_creatable(purpose, USER)
    assert refused.value.allowed == INPUT
    if purpose in OUTPUT:
        assert purposes.require_creatable(purpose, SYSTEM)


def test_only_batch_has_a_size_limit_of_its_own() -> None:
    assert purposes.size_limit("batch", LIMITS) == 200
    assert {purposes.size_limit(purpose, LIMITS) for purpose in (None, "vision", "fine-tune")} == {1000}
    assert purposes.size_limit("batch", Limits(100, 200, Quota(None, None), 0, None)) == 100


@pytest.mark.parametrize("name", ["a.txt", "a.PDF", "noextension", ".hidden", "a.b.json", "archive.tar"])
def test_assistants_extensions_that_pass(name: str) -> None:
    purposes.require_extension(name)


@pytest.mark.parametrize("name", ["a.vb", "a.jsonl", "a.", "a.txt.exe", ".a.exe"])
def test_assistants_extensions_that_do_not(name: str) -> None:
    with pytest.raises(UnsupportedExtension):
        purposes.require_extension(name)


def test_downloads_as_hosted_refuse_three_purposes() -> None:
    refused = set()
    for purpose in purposes.ALL_PURPOSES:
        purposes.require_download(purpose, as_hosted=False)
        try:
            purposes.require_download(purpose, as_hosted=True)
        except DownloadRefused:
            refused.add(purpose)
    assert refused == {"assistants", "user_data", "evals"}


@pytest.mark.parametrize("seconds", [3_600, 3_601, 2_592_000])
def test_expiry_in_range(seconds: int) -> None:
    expiry.check(ExpiresAfter("created_at", seconds))
    assert expiry.lifetime("vision", ExpiresAfter("created_at", seconds), LIMITS) == seconds


@pytest.mark.parametrize("seconds", [-1, 0, 3_599, 2_592_001, 10**14])
@pytest.mark.promise("S-22")
def test_expiry_out_of_range(seconds: int) -> None:
    with pytest.raises(BadExpirySeconds):
        expiry.check(ExpiresAfter("created_at", seconds))


def test_expiry_needs_both_members_and_the_one_anchor() -> None:
    with pytest.raises(IncompleteExpiry, match="anchor"):
        expiry.check(ExpiresAfter(None, 3600))
    with pytest.raises(IncompleteExpiry, match="seconds"):
        expiry.check(ExpiresAfter("created_at", None))
    with pytest.raises(BadAnchor):
        expiry.check(ExpiresAfter("last_active_at", 3600))
    expiry.check(None)


def test_only_batch_files_expire_by_default() -> None:
    lifetimes = {purpose: expiry.lifetime(purpose, None, LIMITS) for purpose in purposes.ALL_PURPOSES}
    assert lifetimes.pop("batch") == 2_592_000
    assert set(lifetimes.values()) == {None}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a.txt", "a.txt"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\a.txt", "a.txt"),
        ("C:\\fakepath\\übung.txt", "übung.txt"),
        ("a\x00b\r\nc\x7f\x85.txt", "abc.txt"),
        ("日本語 🎉.jsonl", "日本語 🎉.jsonl"),
        (" a ", " a "),
        ('quo"te;.txt', 'quo"te;.txt'),
        ("x" * 255, "x" * 255),
        ("测" * 255, "测" * 255),
        ("🎉" * 255, "🎉" * 255),
        ("invoice\u202etxt.exe", "invoicetxt.exe"),
        ("\u202a\u202b\u202c\u202d\u202ea\u2066\u2067\u2068\u2069", "a"),
        ("a\u2028b\u2029c", "abc"),
        ("\u200fשלום\u200e.txt", "\u200fשלום\u200e.txt"),
    ],
)
def test_names_that_are_kept(sent: str, kept: str) -> None:
    assert filenames.clean(sent) == kept


@pytest.mark.parametrize(
    "sent", ["", ".", "..", "a/", "a/..", "\x00", "\n", "  ", "x" * 256, "é" * 256, "\u202e.\u2066.", "\u2028"]
)
def test_names_that_are_refused(sent: str) -> None:
    with pytest.raises(BadFilename):
        filenames.clean(sent)


@given(st.text(max_size=300))
def test_a_kept_name_is_harmless(sent: str) -> None:
    try:
        kept = filenames.clean(sent)
    except BadFilename:
        return
    assert "/" not in kept and "\\" not in kept
    assert kept.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in kept)
    assert not any(
        unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI") for c in kept
    )
    assert len(kept.splitlines()) == 1
    assert 1 <= len(kept) <= 255
    assert filenames.clean(kept) == kept


def test_the_mask_shows_eight_and_four_and_never_a_short_key() -> None:
    key = "sk-abcdefghijklmnop1234"
    assert access.mask(key) == "sk-abcde" + "*" * (len(key) - 12) + "1234"
    for length in range(17):
        assert set(access.mask("x" * length)) <= {"*"}


@given(st.text(string.ascii_letters + string.digits, min_size=17, max_size=80))
def test_a_mask_never_gives_more_than_twelve_characters(key: str) -> None:
    masked = access.mask(key)
    assert len(masked) == len(key)
    assert sum(a == b for a, b in zip(masked, key, strict=True)) <= 12


def test_new_keys_are_long_and_differ() -> None:
    made = {access.new_secret() for _ in range(1000)}
    assert len(made) == 1000
    assert all(key.startswith("sk-") and len(key) >= 46 for key in made)


def test_a_refusal_says_when_to_come_back() -> None:
    now = 1_000_000_000
    full = now + rate_limit.PERIOD
    decision = rate_limit.refused(60, full, now)
    assert (decision.allowed, decision.remaining, decision.retry_after) == (False, 0, 1.0)
    assert rate_limit.allowed(60, now + 1_000_000, now).remaining == 59
