"""Builds documents: DOCX and PPTX from fragments of XML, PDF from text of pages."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
P = "http://schemas.openxmlformats.org/presentationml/2006/main"
MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_NAMES = f'xmlns:w="{W}" xmlns:a="{A}" xmlns:p="{P}" xmlns:r="{R}" xmlns:mc="{MC}"'


def archive(parts: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return buffer.getvalue()


def relationships(targets: Mapping[str, tuple[str, str]]) -> str:
    """ID -> (type, target)."""
    rows = "".join(
        f'<Relationship Id="{key}" Type="{R}/{kind}" Target="{target}"/>' for key, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}">{rows}</Relationships>'


def docx(body: str, parts: Mapping[str, tuple[str, str]] | None = None, *, prolog: str = "") -> bytes:
    """`parts`: file name in `word/` -> (type of its relationship, XML within its root)."""
    parts = parts or {}
    related = {f"rId{index}": (kind, name) for index, (name, (kind, _)) in enumerate(parts.items())}
    return archive(
        {
            "_rels/.rels": relationships({"rId1": ("officeDocument", "word/document.xml")}),
            "word/document.xml": f"{prolog}<w:document {_NAMES}><w:body>{body}</w:body></w:document>",
            "word/_rels/document.xml.rels": relationships(related),
            **{f"word/{name}": f"<w:part {_NAMES}>{content}</w:part>" for name, (_, content) in parts.items()},
        }
    )


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:r><w:rPr>{properties}</w:rPr><w:t>{text}</w:t></w:r></w:p>"


def pptx(slides: Mapping[str, str], notes: Mapping[str, str] | None = None, *, prolog: str = "") -> bytes:
    """Slides in their order: file name -> XML of the shapes; notes: file name of the slide -> XML of the shapes."""
    names = list(slides)
    order = "".join(f'<p:sldId id="{256 + index}" r:id="rId{index}"/>' for index in range(len(names)))
    parts: dict[str, str | bytes] = {
        "_rels/.rels": relationships({"rId1": ("officeDocument", "/ppt/presentation.xml")}),
        "ppt/presentation.xml": f"<p:presentation {_NAMES}><p:sldIdLst>{order}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relationships(
            {f"rId{index}": ("slide", f"slides/{name}") for index, name in enumerate(names)}
        ),
    }
    for name, shapes in slides.items():
        parts[f"ppt/slides/{name}"] = f"{prolog}<p:sld {_NAMES}>{shapes}</p:sld>"
    for name, shapes in (notes or {}).items():
        parts[f"ppt/notesSlides/{name}"] = f"<p:notes {_NAMES}>{shapes}</p:notes>"
        parts[f"ppt/slides/_rels/{name}.rels"] = relationships({"rId1": ("notesSlide", f"../notesSlides/{name}")})
    return archive(parts)


def shape(*paragraphs: str) -> str:
    return "<p:txBody>" + "".join(f"<a:p><a:r><a:t>{text}</a:t></a:r></a:p>" for text in paragraphs) + "</p:txBody>"


def pdf_of(objects: Iterable[bytes], *, trailer: bytes = b"", start: int | None = None) -> bytes:
    """A file of the given objects, numbered from 1, of which the first is the catalogue."""
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, content))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % offset for offset in offsets))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R %b >>\n" % (len(offsets) + 1, trailer))
    out.write(b"startxref\n%d\n%%%%EOF\n" % (table if start is None else start))
    return out.getvalue()


def pdf(pages: list[str]) -> bytes:
    """One page for each text, a line for each of its lines."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * index) for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%b] >>" % (len(pages), kids),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, text in enumerate(pages):
        lines = b"".join(b"(%b) Tj T* " % line.encode("cp1252") for line in text.split("\n"))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * index)
        )
        objects.append(stream(b"BT /F1 12 Tf 14 TL 72 720 Td " + lines + b"ET"))
    return pdf_of(objects)


def stream(content: bytes, dictionary: bytes = b"", *, packed: bool = True) -> bytes:
    data = zlib.compress(content, 9) if packed else content
    return b"<< /Length %d %b %b >>\nstream\n%b\nendstream" % (
        len(data),
        b"/Filter /FlateDecode" * packed,
        dictionary,
        data,
    )
