"""Which name `filename` and `filename*` of a file part mean: the ways in which clients write them."""

import encodings
import time
from urllib.parse import quote

import pytest

from filestead.api.http.part_filenames import decode_part_filename
from tests.unit.multipart_corpus import FIELD, FILE, form, part, read, refusal


def extended(name: str) -> str:
    return f"UTF-8''{quote(name, safe='')}"


STAND_INS = [
    # (what sends it, filename, the name in filename*)
    ("empty", "", "é.txt"),
    ("blank", "  ", "é.txt"),
    ("Symfony", "_.txt", "测.txt"),
    ("Symfony, a character each", "__.txt", "测试.txt"),
    ("one for several", "_.txt", "测试文件.txt"),
    ("OkHttp", "??.txt", "测试.txt"),
    ("a question mark for each byte", "??????.txt", "测试.txt"),
    ("replacement characters", "\ufffd\ufffd.txt", "测试.txt"),
    ("only the extension is left", "_.tar.gz", "测试.tar.gz"),
    ("no extension", "__", "测试"),
    ("ASCII among others", "report ___ 2026.txt", "report 测试集 2026.txt"),
    ("left out", "rsum.pdf", "résumé.pdf"),
    ("left out to the extension", ".pdf", "测试.pdf"),
    ("without accents", "resume.pdf", "résumé.pdf"),
    ("quotes replaced too", "_a_ _.txt", '"a" é.txt'),
    ("axios", "%E6%B5%8B.txt", "测.txt"),
    ("axios, lower case", "%e6%b5%8b.txt", "测.txt"),
    ("Java's URLEncoder", "a+%E6%B5%8B.txt", "a 测.txt"),
    ("percent-encoded ASCII", "my%20file.txt", "my file.txt"),
    ("UTF-8 read as Latin-1", "é.txt".encode().decode("latin-1"), "é.txt"),
    ("UTF-8 read as Windows-1252", "“a”.txt".encode().decode("cp1252", "replace"), "“a”.txt"),
    ("GBK read as Latin-1", "测试.txt".encode("gbk").decode("latin-1"), "测试.txt"),
    (".NET", "=?utf-8?B?5rWLLnR4dA==?=", "测.txt"),
    ("Spring, two words", "=?UTF-8?Q?=E6=B5=8B?= =?UTF-8?Q?=E8=AF=95.txt?=", "测试.txt"),
    ("words of an unknown charset", "=?x-none?B?eA==?=", "测.txt"),
]


@pytest.mark.parametrize(("plain", "name"), [row[1:] for row in STAND_INS], ids=[row[0] for row in STAND_INS])
def test_the_extended_name_wins_over_its_stand_in(plain: str, name: str) -> None:
    assert decode_part_filename(plain, extended(name)) == name


@pytest.mark.parametrize(
    ("plain", "name"),
    [
        ("a.txt", "b.txt"),
        ("uebersicht.txt", "übersicht.txt"),
        ("EURO rates.txt", "€ rates.txt"),
        ("naïve.txt", "näive.txt"),
        ("test.csv", '"test.csv"'),
        ("my%20file.txt", "other file.txt"),
        ("_readme.txt", "liesmich.txt"),
        ("?.then a sentence", "b.txt"),
        ("=?x?B?eA==?= b", "c"),
    ],
)
def test_of_two_different_readable_names_the_plain_one_wins(plain: str, name: str) -> None:
    assert decode_part_filename(plain, extended(name)) == plain


@pytest.mark.parametrize(
    ("plain", "name"),
    [
        ("=?utf-8?B?w6kudHh0?=", "é.txt"),
        ("=?UTF-8?b?w6kudHh0?=", "é.txt"),
        ("=?UTF-8?Q?=C3=A9_a=5Fb.txt?=", "é a_b.txt"),
        ("=?UTF-8?Q?=E6=B5=8B?= =?UTF-8?Q?=E8=AF=95.txt?=", "测试.txt"),
        ("=?UTF-8?Q?=E6=B5?= =?UTF-8?Q?=8B.txt?=", "测.txt"),
        ("=?UTF-8?B?w6k=?=\t=?ISO-8859-1?Q?=E9.txt?=", "éé.txt"),
        ("=?us-ascii?Q?a.txt?=", "a.txt"),
        ("=?ANSI_X3.4-1968?Q?a.txt?=", "a.txt"),
        ("=?KOI8-U?Q?=C1?=", "а"),
        ("=?csISOLatin1?Q?=E9?=", "é"),
        ("=?windows-1252?Q?=93a=94?=", "“a”"),
        ("=?gb2312?B?suLK1A==?=", "测试"),
        ("=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "日本"),
        ("=?utf-8*en?Q?=C3=A9?=", "é"),
    ],
)
def test_a_name_of_encoded_words_only_is_decoded(plain: str, name: str) -> None:
    assert decode_part_filename(plain, None) == name
    assert decode_part_filename(plain, "unreadable") == name


@pytest.mark.parametrize(
    "plain",
    [
        "=?utf-8?B?w6kudHh0?= and more",
        "a =?utf-8?B?w6kudHh0?=",
        "=?utf-8?B?w6k?= x =?utf-8?B?w6k?=",
        "=?utf-8?X?w6k=?=",
        "=?utf-8?B?/w==?=",
        "=?utf-8?B?A?=",
        "=?utf-8?B??=",
        "=?unicode_escape?Q?=5Cx41?=",
        "=?punycode?Q?a-b?=",
        "=?rot13?Q?a?=",
        "=?no-such-charset?Q?a?=",
        "=??Q?a?=",
        "my%20data.jsonl",
        "__.txt",
        "??.txt",
        "\ufffd.txt",
    ],
)
def test_any_other_name_stays_as_it_stands(plain: str) -> None:
    assert decode_part_filename(plain, None) == plain


def test_bytes_that_are_no_text_are_no_harm_beside_a_readable_name() -> None:
    """Of ISO-8859-1 in `filename`, for example. Without the other name there is nothing to go by."""
    head = b'Content-Disposition: form-data; name="file"; filename="\xe9.txt"'
    [(name, filename, _)] = read(form(part(head=head + b"; filename*=UTF-8''%C3%A9.txt\r\n")))
    assert (name, filename) == ("file", "é.txt")
    for rest in (b"", b"; filename*=UTF-8''%"):
        assert refusal(form(part(head=head + rest + b"\r\n"))).reason == "A part header is not valid UTF-8."


@pytest.mark.parametrize(
    "type_", [b"multipart/related; boundary=b", b"multipart/x-zip", b"Multipart/Form-Data", b"multipart/byteranges"]
)
def test_the_type_of_a_file_is_a_label(type_: bytes) -> None:
    content = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'
    header = b"Content-Type: " + type_ + b"\r\n"
    for head in (FILE + header, header + FILE):
        assert read(form(part(content, head))) == [("file", "a.bin", content)]
    for head in (FIELD + header, header + FIELD):
        assert refusal(form(part(content, head))).reason == "A field is itself multipart."


@pytest.mark.parametrize(
    ("plain", "name"),
    [
        ("_" * 4000, "测 " * 2000),
        ("_" * 4000 + "!", "测_" * 2000),
        ("x" * 4000, "测x" * 2000),
        ("=?utf-8?Q?a?=" * 300 + "!", "é"),
        ("=?" * 4000, "é"),
        ("?" * 4000 + ".!", "é" * 2000),
        ("%" * 4000, "%é" * 2000),
    ],
)
@pytest.mark.timing
def test_no_name_takes_long(plain: str, name: str) -> None:
    began = time.process_time()
    decode_part_filename(plain, extended(name))
    assert time.process_time() - began < 0.5


def test_unknown_charsets_are_not_remembered() -> None:
    """Python keeps each name of a codec that it has looked up."""
    before = len(encodings._cache)  # type: ignore[attr-defined]
    for number in range(1_000):
        name = f"=?x-{number}?Q?a?="
        assert decode_part_filename(name, None) == name
    assert len(encodings._cache) == before  # type: ignore[attr-defined]
