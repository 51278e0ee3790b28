"""The multipart reader's rules: what real clients send is read, what is malformed or too much is refused."""

import pytest

from filestead.api.http.multipart import (
    MAX_PADDING,
    PART_END,
    MultipartError,
    MultipartLimitError,
    MultipartLimits,
    MultipartReader,
    NotMultipart,
    parse_boundary,
)

from .multipart_corpus import FIELD, FILE, UPLOADS, B, Upload, disposition, field_headed, form, part, read, refusal

# --- what real clients send -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64, 73])
@pytest.mark.parametrize("upload", UPLOADS, ids=lambda upload: upload.client)
def test_uploads_of_real_clients_are_read(upload: Upload, size: int) -> None:
    assert read(upload.body, parse_boundary(upload.content_type), size) == upload.parts


@pytest.mark.parametrize("upload", UPLOADS, ids=lambda upload: upload.client)
def test_a_body_cut_anywhere_before_its_end_is_refused(upload: Upload) -> None:
    boundary = parse_boundary(upload.content_type)
    end = upload.body.rindex(b"--" + boundary + b"--") + len(boundary) + 4
    for cut in range(end):
        reader = MultipartReader(boundary)
        reader.feed(upload.body[:cut])
        assert not reader.finished
        with pytest.raises(MultipartError, match="ends before"):
            reader.close()
    for cut in range(end, len(upload.body) + 1):
        assert read(upload.body[:cut], boundary) == upload.parts


# --- the request's Content-Type -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=x", b"x"),
        ('Multipart/Form-Data ;BOUNDARY="a b:c=?"', b"a b:c=?"),
        ("multipart/form-data;boundary=a=b/c:d'(e)+_,-.?", b"a=b/c:d'(e)+_,-.?"),
        ("multipart/form-data; charset=utf-8; boundary=x;", b"x"),
        (f"multipart/form-data; boundary={'x' * 70}", b"x" * 70),
    ],
)
def test_boundary_is_found(content_type: str, boundary: bytes) -> None:
    assert parse_boundary(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary*=utf-8''x",
        "multipart/form-data; boundary =x",
        "multipart/form-data; boundary=x; boundary=x",
        "multipart/form-data; boundary=x; Boundary=y",
        'multipart/form-data; boundary="x',
        'multipart/form-data; boundary=x"',
        'multipart/form-data; boundary="x"y',
        'multipart/form-data; boundary="x "',
        'multipart/form-data; boundary="x\\"y"',
        'multipart/form-data; boundary="x%22y"',
        'multipart/form-data; boundary="x\r\ny"',
        "multipart/form-data; boundary=x\ny",
        "multipart/form-data; boundary=x\x00",
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=x{y}",
        "multipart/form-data; boundary=x, multipart/form-data; boundary=y",
        f"multipart/form-data; boundary={'x' * 71}",
        f"multipart/form-data; boundary=x; a={'y' * 1024}",
    ],
)
def test_boundary_that_is_not_certain_is_refused(content_type: str) -> None:
    with pytest.raises(MultipartError) as refused:
        parse_boundary(content_type)
    assert not isinstance(refused.value, NotMultipart)


@pytest.mark.parametrize(
    "content_type",
    ["", ";", "application/json", "multipart/mixed; boundary=x", "multipart/form-data, a/b; boundary=x", "text/x; ;"],
)
def test_other_media_types_are_told_apart(content_type: str) -> None:
    with pytest.raises(NotMultipart):
        parse_boundary(content_type)


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name", "filename"),
    [
        ('form-data; name="f"', "f", None),
        ('FORM-DATA;NAME="f";FileName="a"', "f", "a"),
        ('form-data ; name="f" ;;  filename="a";', "f", "a"),
        ('form-data; filename="a"; name="f"', "f", "a"),
        ('form-data; name=""; filename=""', "", ""),
        ("form-data; name=expires_after[anchor]; filename=a=b'(1).txt", "expires_after[anchor]", "a=b'(1).txt"),
        ("form-data; name=f; filename=naïve.txt", "f", "naïve.txt"),
        ('form-data; name="a;b=\\"c\\""; filename="; name=x; filename=y"', 'a;b="c"', "; name=x; filename=y"),
        ('form-data; name="a%22b%0D%0Ac"; filename="%22%0D%0A"', 'a"b\r\nc', '"\r\n'),
        ('form-data; name="f"; filename="%20%0d%2522%5C%00%"', "f", "%20%0d%2522%5C%00%"),
        (r'form-data; name="f"; filename="C:\fakepath\x"', "f", r"C:\fakepath\x"),
        (r'form-data; name="f"; filename="a\\\"b\\"', "f", r"a\"b" + "\\"),
        (r"form-data; name=f; filename=a\b", "f", r"a\b"),
        ('form-data; name="f"; filename="tab\there"', "f", "tab\there"),
        ('form-data; name="f"; filename="../../etc/passwd"', "f", "../../etc/passwd"),
        ('form-data; name="f"; size=3; filename="a"', "f", "a"),
    ],
)
def test_names_are_decoded(value: str, name: str, filename: str | None) -> None:
    assert disposition(value) == (name, filename)


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [
        ("filename=\"a.txt\"; filename*=utf-8''b.txt", "a.txt"),
        ("filename*=utf-8''b.txt; filename=\"a.txt\"", "a.txt"),
        ("filename*=utf-8''na%C3%AFve.txt", "naïve.txt"),
        ("filename*=UTF-8'en-GB'%e2%82%ac%20rates", "€ rates"),
        ("filename*=iso-8859-1''na%EFve.txt", "naïve.txt"),
        ("filename*=\"UTF-8''na%C3%AFve.txt\"", "naïve.txt"),
        ("filename=\"=?utf-8?B?bmHDr3ZlLnR4dA==?=\"; filename*=utf-8''na%C3%AFve.txt", "naïve.txt"),
        ("filename=\"=?utf-8?Q?na=C3=AFve?=\"; filename*=utf-8''na%C3%AFve.txt", "naïve.txt"),
        ("filename=\"=?x?B?eA==?= b\"; filename*=utf-8''c", "=?x?B?eA==?= b"),
    ],
)
def test_filename_wins_over_its_extended_form(parameters: str, filename: str) -> None:
    assert disposition(f'form-data; name="f"; {parameters}') == ("f", filename)


BAD_EXTENDED = [
    "x",
    "utf-8''",
    "utf-8''%",
    "utf-8''%zz",
    "utf-8''%FF",
    "utf-16''a",
    "''a",
    "utf-8''é",
    "utf-8'e\u212a'a",
]


@pytest.mark.parametrize("extended", BAD_EXTENDED)
def test_a_bad_extended_filename_never_displaces_a_good_one(extended: str) -> None:
    assert disposition(f'form-data; name="f"; filename="a.txt"; filename*={extended}') == ("f", "a.txt")
    assert disposition(f'form-data; name="f"; filename="=?u?B?eA==?="; filename*={extended}') == ("f", "=?u?B?eA==?=")
    head = f'Content-Disposition: form-data; name="f"; filename*={extended}\r\n'.encode()
    assert "filename*" in refusal(form(part(head=head))).reason


@pytest.mark.parametrize(
    "value",
    [
        "form-data",
        "",
        'attachment; name="f"',
        'form-data, form-data; name="f"',
        'form-data; filename="a"',
        'form-data; name="f"; name="g"',
        'form-data; name="f"; NAME="f"',
        'form-data; name="f"; filename="a"; filename="a"',
        "form-data; name=\"f\"; filename*=utf-8''a; filename*=utf-8''a",
        "form-data; name*=utf-8''f",
        "form-data; name=\"f\"; name*=utf-8''g",
        'form-data; name="f"; filename*0="a"; filename*1="b"',
        "form-data; name=",
        "form-data; name",
        "form-data; name =f",
        "form-data; name= f",
        'form-data; name="f',
        'form-data; name="f\\"',
        'form-data; name="f"; filename="a\\"',
        'form-data; name="f"x',
        'form-data; name="f" filename="a"',
        'form-data; name="f", filename="a"',
        'form-data; name=f"g"',
        "form-data; name=f; filename=my file.txt",
        'form-data;\tname="f"',
        'form-data; ="f"',
        'form-data; nämé="f"; name="f"',
    ],
)
def test_dispositions_that_could_be_read_in_two_ways_are_refused(value: str) -> None:
    refusal(form(part(head=f"Content-Disposition: {value}\r\n".encode())))


# --- part headers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="no header at all"),
        pytest.param(b"Content-Type: text/plain\r\n", id="no disposition"),
        pytest.param(FIELD + FIELD, id="disposition twice"),
        pytest.param(FIELD + b"content-disposition:form-data; name=g\r\n", id="disposition twice in another case"),
        pytest.param(FIELD + b"X-Note: a\r\n b\r\n", id="folded with a space"),
        pytest.param(b'Content-Disposition: form-data;\r\n\tname="f"\r\n', id="folded with a tab"),
        pytest.param(b" " + FIELD, id="folded first line"),
        pytest.param(FIELD + b"X-Note\r\n", id="no colon"),
        pytest.param(FIELD + b": x\r\n", id="no header name"),
        pytest.param(FIELD + b"X Note: a\r\n", id="space in a header name"),
        pytest.param(FIELD + b"X-Note : a\r\n", id="space before the colon"),
        pytest.param(FIELD + "X-Nöte: a\r\n".encode(), id="header name beyond ASCII"),
        pytest.param(FIELD + b"X-Note: a\x00b\r\n", id="NUL"),
        pytest.param(FIELD + b"X-Note: a\x7fb\r\n", id="DEL"),
        pytest.param(FIELD + b"X-Note: a\rb\r\n", id="bare CR"),
        pytest.param(FIELD + b"X-Note: a\nX-More: b\r\n", id="bare LF"),
        pytest.param(FIELD[:-2] + b"\n" + FIELD, id="bare LF hides a disposition"),
        pytest.param(b'Content-Disposition: form-data; name="f\r\nX: y"\r\n', id="CRLF within quotes"),
        pytest.param(b'Content-Disposition: form-data; name="f\xff"\r\n', id="name not UTF-8"),
        pytest.param(b'Content-Disposition: form-data; name="f"; filename="\xc0\xaf"\r\n', id="overlong UTF-8"),
        pytest.param(b'Content-Disposition: form-data; name="f"; filename="\xed\xa0\x80"\r\n', id="surrogate"),
        pytest.param(FIELD + b"X-Note: \xff\r\n", id="other header not UTF-8"),
        pytest.param(FIELD + b"Content-Transfer-Encoding: base64\r\n", id="base64"),
        pytest.param(FIELD + b"Content-Transfer-Encoding: Quoted-Printable\r\n", id="quoted-printable"),
        pytest.param(FIELD + b"Content-Transfer-Encoding:\r\n", id="empty encoding"),
        pytest.param(FIELD + b"Content-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: base64\r\n", id="both"),
        pytest.param(FIELD + b"Content-Type: multipart/mixed; boundary=inner\r\n", id="nested"),
        pytest.param(FIELD + b"Content-Type:Multipart/Form-Data\r\n", id="nested in another case"),
    ],
)
def test_malformed_part_heads_are_refused(head: bytes) -> None:
    refusal(form(part(b"x", head)))


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Type:",
        b"Content-Type: ",
        b"Content-Type: message/rfc822",
        b"content-transfer-encoding: 7BIT",
        b"Content-Transfer-Encoding:8bit",
        b"Content-Transfer-Encoding: binary ",
        b"Content-Length: 1",
        b"Content-Length: -5",
        b"Content-Length: 99999999999",
        b"X-Note: name=evil; filename=evil",
        b"!#$%&'*+-.^_`|~: odd but a token",
    ],
)
def test_other_part_headers_are_ignored(header: bytes) -> None:
    assert read(form(part(b"content", header + b"\r\n" + FIELD))) == [("f", None, b"content")]


# --- delimiters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\n--" + B + b"--\n", id="LF delimiter"),
        pytest.param(b"\r--" + B + b"--\r", id="CR delimiter"),
        pytest.param(b"x--" + B + b"--\r\n", id="delimiter within a line"),
        pytest.param(b"\r\n-" + B, id="one dash"),
        pytest.param(b"\r\n--" + B[:-1] + b"\r\n", id="all but the last byte"),
        pytest.param(b"\r\n--" + B.lower() + b"\r\n", id="another case"),
        pytest.param(b"\r\r\n\r\n\n\r", id="line ends"),
        pytest.param(b"--" + B[:3], id="begins like a delimiter"),
        pytest.param(b"--", id="dashes"),
        pytest.param(b"\r\n", id="a line end"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_content_that_only_resembles_a_delimiter_is_content(content: bytes) -> None:
    for size in range(1, 80):
        assert read(form(part(content, FILE), part(b"x")), size=size) == [
            ("file", "a.bin", content),
            ("f", None, b"x"),
        ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(form(part()).replace(b"\r\n", b"\n"), "its line", id="LF for CRLF"),
        pytest.param(form(part()).replace(b"\r\n", b"\r"), "its line", id="CR for CRLF"),
        pytest.param(form(part()).replace(B + b"\r\n", B + b"\n"), "its line", id="LF behind the first delimiter"),
        pytest.param(form(part(), part(b"\r\n--" + B + b"\n")), "its line", id="LF behind a delimiter"),
        pytest.param(form(part(b"\r\n--" + B + b"x")), "its line", id="the boundary goes on"),
        pytest.param(form(part(b"\r\n--" + B + b"-\r\n")), "its line", id="one dash behind it"),
        pytest.param(form(part(b"\r\n--" + B + b" x\r\n")), "its line", id="text behind padding"),
        pytest.param(form(part(b"\r\n--" + B + b"\r\r\n")), "its line", id="CR CR LF"),
        pytest.param(form(part(b"\r\n--" + B + b" --\r\n")), "its line", id="padding before the closing dashes"),
        pytest.param(b"--" + B + b"\r\n" + FIELD + b"\r\n" + form(), "line end before it", id="part without content"),
        pytest.param(
            form(part(head=FIELD + b"--" + B + b"\r\n")), "contain a delimiter", id="delimiter within part headers"
        ),
        pytest.param(b"x--" + form(part(), part())[2:], "before the first part", id="first delimiter within a line"),
        pytest.param(b"\r\nx\n" + form(part(), part()), "before the first part", id="first delimiter behind LF"),
        pytest.param(form(part())[:-4], "ends before", id="no closing dashes"),
        pytest.param(form(part())[:-3], "ends before", id="one closing dash"),
        pytest.param(b"", "ends before", id="nothing"),
        pytest.param(b"\r\n", "ends before", id="a line end"),
    ],
)
def test_malformed_delimiters_are_refused(body: bytes, reason: str) -> None:
    assert reason in refusal(body).reason


def test_a_delimiter_within_a_part_head_is_seen_even_if_it_looks_like_a_header() -> None:
    for head in (FIELD + b"--a:b\r\n", b"--a:b\r\n" + FIELD):
        body = b"--a:b\r\n" + head + b"\r\nx\r\n--a:b--"
        assert "delimiter" in refusal(body, b"a:b").reason


def test_padding_behind_a_delimiter_is_accepted_up_to_a_limit() -> None:
    def padded(padding: bytes) -> bytes:
        return form(part(b"x")).replace(B + b"\r\n", B + padding + b"\r\n")

    for padding in (b" ", b"\t", b" \t" * (MAX_PADDING // 2)):
        assert read(padded(padding)) == read(padded(padding), size=1) == [("f", None, b"x")]
    for padding in (b" " * (MAX_PADDING + 1), b"\t" * 100_000):
        assert "its line" in refusal(padded(padding)).reason


def test_a_form_without_parts_is_read() -> None:
    assert read(form()) == []


def test_preamble_and_epilogue_are_skipped() -> None:
    assert read(b"preamble\r\n" + form(part(b"x")) + b"epilogue\r\n" + form(part(b"y"))) == [("f", None, b"x")]


def test_content_is_handed_on_as_it_arrives_and_whole_chunks_without_a_copy() -> None:
    reader = MultipartReader(B)
    reader.feed(b"--" + B + b"\r\n" + FILE + b"\r\n")
    chunk = b"x" * 100_000
    [event] = reader.feed(chunk)
    assert event is chunk
    assert reader.feed(b"\r\n--" + B[:4]) == []
    assert reader.feed(chunk) == [b"\r\n--" + B[:4], chunk]
    assert reader.feed(b"\r\n--" + B) == [PART_END]
    assert not reader.finished
    assert reader.feed(b"--") == []
    assert reader.finished


def test_a_refused_body_stays_refused() -> None:
    reader = MultipartReader(B)
    with pytest.raises(MultipartError):
        reader.feed(form(part(b"x")) + b"e" * 2000)
    for again in (lambda: reader.feed(form()), lambda: reader.feed(b""), reader.close):
        with pytest.raises(MultipartError, match="rejected"):
            again()


# --- limits: the last size that passes, the first that does not -----------------------------------------------------


@pytest.mark.parametrize(
    ("passes", "refused"),
    [
        pytest.param(form(*[part()] * 16), form(*[part()] * 17), id="parts"),
        pytest.param(form(part(b"x" * 16384)), form(part(b"x" * 16385)), id="one field"),
        pytest.param(form(*[part(b"x" * 16384)] * 4), form(*[part(b"x" * 16384)] * 4, part(b"x")), id="all fields"),
        pytest.param(
            form(part(head=FIELD + b"".join(b"X: y\r\n" for _ in range(15)))),
            form(part(head=FIELD + b"".join(b"X: y\r\n" for _ in range(16)))),
            id="part headers",
        ),
        pytest.param(form(part(head=field_headed(8192))), form(part(head=field_headed(8193))), id="part head"),
        pytest.param(b"p" * 1024 + b"\r\n" + form(part()), b"p" * 1025 + b"\r\n" + form(part()), id="preamble"),
        pytest.param(form(part()) + b"e" * 1022, form(part()) + b"e" * 1023, id="epilogue"),
    ],
)
@pytest.mark.promise("S-18")
def test_limits_are_exact(passes: bytes, refused: bytes) -> None:
    assert read(passes) == read(passes, size=1)
    assert isinstance(refusal(refused), MultipartLimitError)


@pytest.mark.parametrize("filename", ["a.bin", ""])
def test_content_with_a_filename_has_no_limit(filename: str) -> None:
    content = b"\r\n--7MA4" * 100_000
    head = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\n'.encode()
    assert read(form(part(content, head)), size=4096) == [("file", filename, content)]


def test_limits_are_the_callers_to_set() -> None:
    reader = MultipartReader(B, MultipartLimits(parts=1, field_bytes=3))
    with pytest.raises(MultipartLimitError):
        reader.feed(form(part(b"four")))
