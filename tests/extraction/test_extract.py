"""The text of each format, and the errors, in one process."""

import errno
import io

import pypdf
import pytest

from filestead.domain.vector_stores.file_types import EXTENSIONS, is_plain_text
from filestead.extraction import plain
from filestead.extraction.errors import InvalidFile, Reason, UnsupportedFile
from filestead.extraction.extract import extract_text
from filestead.extraction.formats import FORMATS, extension_of
from tests.extraction import documents
from tests.extraction.documents import docx, paragraph, pdf, pptx, shape


def text_of(content: bytes, filename: str) -> str:
    return "".join(extract_text(io.BytesIO(content), filename))


def reason_of(content: bytes, filename: str) -> Reason:
    with pytest.raises(InvalidFile) as invalid:
        text_of(content, filename)
    assert invalid.value.kind == "invalid_file"
    return invalid.value.reason


# --- the table and the errors ---------------------------------------------------------------------------------------


def test_indexing_knows_the_same_formats() -> None:
    assert {f".{extension}" for extension in FORMATS} == EXTENSIONS
    plain_ones = {extension for extension, extractor in FORMATS.items() if extractor is plain.extract}
    assert {extension for extension in FORMATS if is_plain_text(f"a.{extension}")} == plain_ones


def test_the_supported_extensions_are_the_documented_ones_without_doc() -> None:
    documented = "c cpp cs css doc docx go html java js json md pdf php pptx py rb sh tex ts txt".split()
    assert sorted(FORMATS) == sorted({*documented} - {"doc"})


@pytest.mark.parametrize("filename", ["a.doc", "a.csv", "a.xlsx", "a", "", ".txt", "a.txt.", "a.txt/b", "txt"])
def test_unsupported_files_are_refused_before_they_are_read(filename: str) -> None:
    with pytest.raises(UnsupportedFile, match=r"^The file type is not supported\.$") as refused:
        extract_text(io.BytesIO(b"x"), filename)
    assert refused.value.kind == "unsupported_file"


def test_the_case_of_an_extension_does_not_matter() -> None:
    assert extension_of("Report.Final.PDF") == "pdf"
    assert text_of(b"# A", "README.MD") == "# A"


def test_the_texts_of_errors_are_those_that_were_recorded() -> None:
    assert [str(InvalidFile(reason)) for reason in (Reason.PARSE, Reason.TOO_LARGE, Reason.EMPTY)] == [
        "The file could not be parsed.",
        "The file could not be parsed because it is too large.",
        "The file could not be parsed because it is empty.",
    ]


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("a.txt", b""),
        ("a.txt", b" \n\t "),
        ("a.txt", b"\xef\xbb\xbf"),
        ("a.json", b"\xff\xfe"),
        ("a.html", b"<html><script>x()</script><p> </p></html>"),
        ("a.docx", docx("<w:p/>")),
        ("a.pptx", pptx({"slide1.xml": "<p:txBody><a:p/></p:txBody>"})),
        ("a.pptx", pptx({})),
        ("a.pdf", pdf([""])),
    ],
)
def test_files_without_text_are_empty(filename: str, content: bytes) -> None:
    assert reason_of(content, filename) is Reason.EMPTY


@pytest.mark.parametrize("filename", ["a.docx", "a.pptx", "a.pdf"])
@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 1000, b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18, b"%PDF-1.7\n"])
def test_files_of_another_kind_cannot_be_parsed(filename: str, content: bytes) -> None:
    assert reason_of(content, filename) is Reason.PARSE


def test_a_disk_that_fails_is_not_the_fault_of_the_file() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "input/output error")

    for filename in ("a.txt", "a.html", "a.docx", "a.pdf"):
        with pytest.raises(OSError, match="input/output"):
            list(extract_text(Failing(b"x" * 1000), filename))


def test_what_a_database_cannot_store_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filestead.extraction.extract.FORMATS", {"x": lambda file: iter(["a\0b", "\ud83d", "c\udfff"])})
    assert text_of(b"", "a.x") == "a\ufffdb\ufffdc\ufffd"


# --- plain text -----------------------------------------------------------------------------------------------------

MIXED = "Grüße, 日本語 🎉\r\n\tint main() { return 0; }\n\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("copies", [1, 5000])
def test_plain_text_is_unchanged_in_every_encoding(encoding: str, copies: int) -> None:
    assert text_of((MIXED * copies).encode(encoding), "a.txt") == MIXED * copies


def test_a_character_may_lie_across_two_blocks() -> None:
    for pad in range(4):
        text = "x" * pad + "🎉" * 40_000
        assert text_of(text.encode(), "a.md") == text
        assert text_of(text.encode("utf-16"), "a.md") == text


def test_utf_16_big_endian_with_a_mark() -> None:
    assert text_of(b"\xfe\xff\x00a\x4e\x2d", "a.py") == "a中"


@pytest.mark.parametrize(
    "content",
    [
        b"caf\xe9",
        b"a\x80b",
        b"\xed\xa0\x80",
        b"a\0b",
        b"text with one \0 in it, which is no UTF-16",
        b"x" * 100_000 + b"\0",
        b"x" * 100_000 + b"\xff",
        b"abc\xf0\x9f",
        b"\xff\xfea",
        b"\xff\xfea\0\x00\xd8b\0",
        b"\xff\xfea\0\0\0",
        b"\xff\xfe\0\0a\0\0\0",
        b"\0\0\xfe\xff\0\0\0a",
        "latin 1 \xe4".encode("latin-1"),
    ],
)
def test_other_bytes_are_invalid(content: bytes) -> None:
    for filename in ("a.txt", "a.json", "a.html"):
        assert reason_of(content, filename) is Reason.PARSE


# --- HTML -----------------------------------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html><html><head><title>Title &amp; more</title><style>p { color: red }</style></head>
<body><h1>Head<b>ing</b></h1><script>if (a < b) { x("<p>no</p>") }</script>
<p>One   two
three<br>four &lt;five&gt; &#x1F389; caf&eacute;</p><!-- comment --><ul><li>first<li>second</ul>
<table><tr><th>Name<th>Value</tr><tr><td><p>a</p></td><td>1</td></tr></table>
<pre>  keep
    this</pre><img alt="A picture"><template>no</template><div>last</div></body></html>"""
PAGE_TEXT = """Title & more
Heading
One two three
four <five> 🎉 café
first
second
Name\tValue
a\t1
  keep
    this A picture
last
"""


def test_html() -> None:
    assert text_of(PAGE.encode(), "a.html") == PAGE_TEXT.replace("this A picture", "this\nA picture")


def test_blocks_of_the_file_do_not_matter_to_html(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = text_of(PAGE.encode(), "a.html")
    for size in (1, 2, 7, 64):
        monkeypatch.setattr("filestead.extraction.plain.BLOCK_BYTES", size)
        assert text_of(PAGE.encode(), "a.html") == whole


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a<p hidden>b</p>", "a\nb\n"),
        ("a&#0;b&#xD800;c", "a\ufffdb\ufffdc\n"),
        ("a & b &unknown; &amp", "a & b &unknown; &\n"),
        ("<p>a<p>b</span></p></p>c", "a\nb\nc\n"),
        ("<p>a<script>unfinished", "a\n"),
        ("a&nbsp;b", "a\xa0b\n"),
        ("<b>a</b><i>b</i> <u>c</u>", "ab c\n"),
        ("<textarea>a\n  b</textarea>", "a\n  b\n"),
        ("<svg><text>a</text></svg>", "a\n"),
        ("no markup", "no markup\n"),
    ],
)
def test_html_details(source: str, text: str) -> None:
    assert text_of(source.encode(), "a.html") == text


# --- DOCX -----------------------------------------------------------------------------------------------------------


def test_docx() -> None:
    body = (
        paragraph("Title")
        + "<w:p><w:pPr><w:tabs><w:tab w:val='left'/></w:tabs><w:rPr><w:vanish/></w:rPr></w:pPr>"
        + "<w:r><w:t>One</w:t></w:r><w:r><w:tab/><w:t xml:space='preserve'>two </w:t><w:br/><w:t>three</w:t></w:r></w:p>"
        + "<w:tbl><w:tr><w:tc>" + paragraph("a") + paragraph("b") + "</w:tc><w:tc>" + paragraph("c") + "</w:tc></w:tr>"
        + "<w:tr><w:tc>" + paragraph("d") + "</w:tc><w:tc>" + paragraph("e") + "</w:tc></w:tr></w:tbl>"
        + paragraph("hidden", "<w:vanish/>") + paragraph("shown", "<w:vanish w:val='0'/>")
        + "<w:p><w:ins><w:r><w:t>inserted</w:t></w:r></w:ins><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        + "<w:r><w:instrText>PAGE</w:instrText></w:r></w:p><w:moveFrom>" + paragraph("moved") + "</w:moveFrom>"
        + "<w:p><w:r><mc:AlternateContent><mc:Choice><w:txbxContent>" + paragraph("box") + "</w:txbxContent></mc:Choice>"
        + "<mc:Fallback><w:txbxContent>" + paragraph("box") + "</w:txbxContent></mc:Fallback></mc:AlternateContent></w:r></w:p>"
        + paragraph("a &lt; b &amp; 🎉 中") + "<w:p/>"
    )  # fmt: skip
    parts = {
        "header1.xml": ("header", paragraph("Company")),
        "header2.xml": ("header", paragraph("Company")),
        "footer1.xml": ("footer", paragraph("Contract 7")),
        "footnotes.xml": ("footnotes", paragraph("A note")),
        "comments.xml": ("comments", paragraph("A comment")),
    }
    assert text_of(docx(body, parts), "a.docx") == (
        "Title\nOne\ttwo \nthree\na b\tc\nd\te\nshown\ninserted\nbox\na < b & 🎉 中\nA note\nCompany\nContract 7\n"
    )


def test_a_docx_whose_parts_have_other_names() -> None:
    content = documents.archive(
        {
            "_rels/.rels": documents.relationships({"x": ("officeDocument", "/other/main.xml")}),
            "other/main.xml": f'<d:document xmlns:d="{documents.W}">{paragraph("found").replace("w:", "d:")}</d:document>',
        }
    )
    assert text_of(content, "a.docx") == "found\n"


def test_relationships_cannot_leave_the_archive() -> None:
    parts = {"../../../etc/passwd": ("footnotes", paragraph("no"))}
    assert text_of(docx(paragraph("only this"), parts), "a.docx") == "only this\n"


# --- PPTX -----------------------------------------------------------------------------------------------------------


def test_pptx() -> None:
    table = (
        "<a:tbl><a:tr><a:tc>" + shape("a", "b") + "</a:tc><a:tc>" + shape("c") + "</a:tc></a:tr>"
        "<a:tr><a:tc>" + shape("d") + "</a:tc></a:tr></a:tbl>"
    )
    number = "<p:txBody><a:p><a:fld type='slidenum'><a:t>12</a:t></a:fld></a:p><a:p/></p:txBody>"
    first = shape("Title", "point &amp; point") + number + table
    second = "<p:txBody><a:p><a:r><a:t>x</a:t></a:r><a:br/><a:r><a:t>y</a:t></a:r></a:p></p:txBody>"
    content = pptx({"slide2.xml": first, "slide1.xml": second}, {"slide2.xml": shape("Say this") + number})
    assert text_of(content, "a.pptx") == "Title\npoint & point\na b\tc\nd\nSay this\nx\ny\n"


# --- PDF ------------------------------------------------------------------------------------------------------------


def test_pdf() -> None:
    text = text_of(pdf(["First page\nsecond line", "Größe", "", "last"]), "a.pdf")
    assert [page.strip() for page in text.split("\n\n") if page.strip()] == ["First page\nsecond line", "Größe", "last"]


def test_a_pdf_is_not_kept_in_memory_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[pypdf.PdfReader] = []

    def opened(file: io.BytesIO) -> pypdf.PdfReader:
        readers.append(pypdf_reader(file))
        return readers[0]

    pypdf_reader = pypdf.PdfReader
    monkeypatch.setattr(pypdf, "PdfReader", opened)
    kept = [len(readers[0].resolved_objects) for _ in extract_text(io.BytesIO(pdf(["x"] * 100)), "a.pdf")]
    assert max(kept[100:]) < 50


def test_a_pdf_with_a_password_cannot_be_parsed_and_one_without_is_read() -> None:
    for password, expected in (("secret", None), ("", "readable")):
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["readable"])))
        writer.encrypt(password, "owner", algorithm="RC4-128")
        made = io.BytesIO()
        writer.write(made)
        if expected is None:
            assert reason_of(made.getvalue(), "a.pdf") is Reason.PARSE
        else:
            assert text_of(made.getvalue(), "a.pdf").strip() == expected
