"""Hostile documents in the sandbox: each ends with its outcome, in time, and costs the parent nothing."""

import asyncio
import io
import json
import resource
import struct
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import pytest

from filestead.extraction.errors import Reason
from filestead.sandbox.errors import Failure, TaskFailed, TaskRejected
from filestead.sandbox.forkserver import Ended
from filestead.sandbox.limits import Limits
from filestead.sandbox.pool import SandboxPool
from tests.extraction import documents
from tests.extraction.documents import docx, paragraph, pdf, pdf_of, pptx, shape, stream

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
LIMITS = Limits(memory_bytes=256 * MIB, cpu_seconds=60, wall_seconds=120)
SMALL = Limits(memory_bytes=48 * MIB, cpu_seconds=60, wall_seconds=120)
"""Far below the 256 MiB of the default; the resident size alone would not show memory that the server left free."""
SHORT = Limits(memory_bytes=256 * MIB, cpu_seconds=3, wall_seconds=30)
PARENT_BYTES = 48 * MIB
PARSE, EMPTY, LARGE = (reason.value for reason in (Reason.PARSE, Reason.EMPTY, Reason.TOO_LARGE))


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[SandboxPool]:
    async with SandboxPool(
        2,
        LIMITS,
        task="tests.extraction.tasks:document_chunks",
        prepare="filestead.extraction.preload:preload",
    ) as running:
        yield running


async def run(
    pool: SandboxPool, content: Iterable[bytes], filename: str, limits: Limits = LIMITS, **arguments: object
) -> tuple[list[list[object]], Ended]:
    with tempfile.TemporaryFile() as file:
        file.writelines(content)
        file.flush()
        async with pool.run(file.fileno(), {"filename": filename, **arguments}, limits) as results:
            found = [json.loads(frame) async for frame in results]
        assert results.usage is not None
        return found, results.usage


async def outcome(pool: SandboxPool, content: Iterable[bytes], filename: str, limits: Limits = LIMITS) -> str:
    """The text of `last_error`, the reason of a failure, or the text."""
    try:
        found, _ = await run(pool, content, filename, limits)
    except TaskRejected as rejected:
        return rejected.message
    except TaskFailed as failed:
        return str(failed.reason)
    return "".join(str(text)[overlap:] for _, overlap, text in found)  # type: ignore[misc]


BILLION = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
LAUGHS = f'<!DOCTYPE x [<!ENTITY l0 "lol">{BILLION}]>'
QUADRATIC = f'<!DOCTYPE x [<!ENTITY l0 "{"a" * 50_000}">]>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY l0 SYSTEM "file:///etc/passwd">]>'


def with_size(content: bytes, name: bytes, size: int) -> bytes:
    """Change the inflated size that the directory and the header of a member claim."""
    changed = bytearray(content)
    for signature, offset, name_offset in ((b"PK\x01\x02", 24, 46), (b"PK\x03\x04", 22, 30)):
        start = content.index(signature)
        while content[start + name_offset : start + name_offset + len(name)] != name:
            start = content.index(signature, start + 1)
        changed[start + offset : start + offset + 4] = struct.pack("<I", size)
    return bytes(changed)


def bomb(size: int) -> bytes:
    """Empty paragraphs, of this many bytes."""
    return docx("<w:p/>" * (size // 6))


def many_members() -> bytes:
    """The same bomb under many names."""
    laughing = paragraph("ha" * 20_000_000)
    return docx(paragraph("x"), {f"footnotes{n}.xml": ("footnotes", laughing) for n in range(3)})


def pdf_with(content: bytes, dictionary: bytes = b"", extra: Iterable[bytes] = ()) -> bytes:
    """One page with a content stream."""
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << >> >>",
            stream(content, dictionary),
            *extra,
        ]
    )


def cyclic_pages() -> bytes:
    return pdf_of(
        [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 9 /Kids [2 0 R 2 0 R] /Parent 2 0 R >>"]
    )


def deep_pages() -> bytes:
    """Each level has two references to the next: two to the power of the depth of pages."""
    levels = [b"<< /Type /Pages /Count 9 /Kids [%d 0 R %d 0 R] >>" % (n + 3, n + 3) for n in range(60)]
    return pdf_of([b"<< /Type /Catalog /Pages 2 0 R >>", *levels, b"<< /Type /Page /MediaBox [0 0 9 9] >>"])


def million_objects() -> Iterator[bytes]:
    """Without a table, so that the parser must look for them."""
    yield b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [] >>\nendobj\n"
    for start in range(3, 1_000_003, 10_000):
        yield b"".join(b"%d 0 obj\n<< /A %d 0 R >>\nendobj\n" % (n, n + 1) for n in range(start, start + 10_000))
    yield b"trailer\n<< /Size 1000003 /Root 1 0 R >>\nstartxref\n0\n%%EOF\n"


def xref_loop() -> bytes:
    content = pdf(["text"])
    table = int(content.rsplit(b"startxref\n", 1)[1].split()[0])
    return content.replace(b"/Root 1 0 R ", b"/Root 1 0 R /Prev %d " % table)


def nested_arrays() -> bytes:
    return pdf_of([b"<< /Type /Catalog /Pages 2 0 R >>", b"[" * 200_000 + b"]" * 200_000])


def encrypted() -> bytes:
    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["secret"])))
    writer.encrypt("password", algorithm="RC4-128")
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def unusual_members(content: bytes, method: int) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as read:
        return documents.archive({info.filename: read.read(info) for info in read.infolist()}, method)


PPTX = pptx({"slide1.xml": shape("text")})
HOSTILE: dict[str, tuple[str, Callable[[], bytes | Iterator[bytes]], set[str]]] = {
    "zip bomb, 1000 to 1": ("a.docx", lambda: bomb(100_000_000), {LARGE}),
    "zip bomb in small parts": ("a.docx", many_members, {LARGE}),
    "zip bomb within a zip bomb": (
        "a.docx",
        lambda: documents.archive({"word/document.xml": documents.archive({"x": b"\0" * 50_000_000})}),
        {PARSE},
    ),
    "embedded archives are not opened": (
        "a.docx",
        lambda: docx(paragraph("outer"), {"x.docx": ("package", "")}),
        {"outer\n"},
    ),
    "a claim of 2 GB": ("a.docx", lambda: with_size(docx(paragraph("x")), b"word/document.xml", 2**31), {LARGE}),
    "a claim of 7 MB": ("a.docx", lambda: with_size(docx(paragraph("x")), b"word/document.xml", 7 * 10**6), {PARSE}),
    "a claim of less": ("a.docx", lambda: with_size(docx(paragraph("x" * 999)), b"word/document.xml", 5), {PARSE}),
    "billion laughs in DOCX": ("a.docx", lambda: docx(paragraph("&l9;"), prolog=LAUGHS), {PARSE}),
    "quadratic entities in DOCX": ("a.docx", lambda: docx(paragraph("&l0;" * 50_000), prolog=QUADRATIC), {PARSE}),
    "external entity in DOCX": ("a.docx", lambda: docx(paragraph("&l0;"), prolog=EXTERNAL), {PARSE}),
    "billion laughs in PPTX": ("a.pptx", lambda: pptx({"s.xml": shape("&l9;")}, prolog=LAUGHS), {PARSE}),
    "deep XML": ("a.docx", lambda: docx("<w:p>" * 100_000 + paragraph("x") + "</w:p>" * 100_000), {PARSE}),
    "an endless XML tag": ("a.docx", lambda: docx(f"<w:p w:x='{'ab' * 4_000_000}'/>"), {PARSE}),
    "XML with a million attributes": (
        "a.docx",
        lambda: docx("<w:p " + "".join(f"a{n}='' " for n in range(1_000_000)) + "/>"),
        {PARSE},
    ),
    "XML in an unknown encoding": ("a.docx", lambda: docx("", prolog='<?xml version="1.0" encoding="cp-9"?>'), {PARSE}),
    "LZMA members": ("a.docx", lambda: unusual_members(docx(paragraph("x")), zipfile.ZIP_LZMA), {PARSE}),
    "half of a DOCX": ("a.docx", lambda: docx(paragraph("x" * 999))[:-400], {PARSE}),
    "half of a PPTX": ("a.pptx", lambda: PPTX[: len(PPTX) // 2], {PARSE}),
    "a slide that is missing": ("a.pptx", lambda: PPTX.replace(b"slide1.xml", b"slide2.xml", 1), {PARSE}),
    "PDF with a million objects": ("a.pdf", million_objects, {PARSE, EMPTY, Failure.TIME, Failure.MEMORY}),
    "PDF with a compression bomb": ("a.pdf", lambda: pdf_with(b"0 " * 100_000_000), {PARSE, EMPTY}),
    "PDF with two layers of compression": (
        "a.pdf",
        lambda: pdf_with(documents.stream(b"q " * 200_000_000), b"/Filter [/FlateDecode /FlateDecode]"),
        {PARSE, EMPTY, Failure.TIME},
    ),
    "PDF with cyclic pages": ("a.pdf", cyclic_pages, {PARSE, EMPTY}),
    "PDF with pages to the power of two": ("a.pdf", deep_pages, {PARSE, Failure.TIME}),
    "PDF whose tables are a loop": ("a.pdf", xref_loop, {"text\n\n\n", "text\n\n", PARSE}),
    "PDF with nested arrays": ("a.pdf", nested_arrays, {PARSE}),
    "PDF with a password": ("a.pdf", encrypted, {PARSE}),
    "a third of a PDF": ("a.pdf", lambda: (whole := pdf(["text"] * 50))[: len(whole) // 3], {PARSE, EMPTY}),
    "HTML with a quarter million nested tags": ("a.html", lambda: b"<div>" * 250_000 + b"text", {"text\n"}),
    "HTML with a million unfinished tags": ("a.html", lambda: b"<a " * 1_000_000, {PARSE, EMPTY, Failure.TIME}),
    "HTML with a million markers": ("a.html", lambda: b"<!" * 1_000_000, {PARSE, EMPTY, Failure.TIME}),
    "HTML with a comment without end": ("a.html", lambda: b"<!--" + b"x" * 30_000_000, {PARSE}),
    "HTML with a million ampersands": ("a.html", lambda: b"&" * 1_000_000, {"&" * 1_000_000 + "\n"}),
    "HTML with long entities": ("a.html", lambda: b"&#" + b"9" * 1_000_000 + b";", {PARSE, "\ufffd\n"}),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timing
async def test_hostile_documents_end_with_their_outcome(pool: SandboxPool, name: str) -> None:
    filename, build, expected = HOSTILE[name]
    content = build()
    parts = [content] if isinstance(content, bytes) else content
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = asyncio.get_running_loop().time()
    found = await outcome(pool, parts, filename, SHORT)
    assert found[:1000] in {text[:1000] for text in expected}
    assert asyncio.get_running_loop().time() - begun < SHORT.wall_seconds + 5
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < PARENT_BYTES
    assert await outcome(pool, [b"the next document"], "a.txt") == "the next document"


def large_text() -> Iterator[bytes]:
    block = "The quick brown fox, 12 of them: jumps over the lazy dog's café — 日本語のテスト。🎉\n".encode() * 500
    for _ in range(100_000_000 // len(block) + 1):
        yield block


async def test_a_text_of_100_mb_takes_constant_memory(pool: SandboxPool) -> None:
    found, _ = await run(pool, large_text(), "a.txt", SMALL, max_tokens=10**9, count=True)
    assert found[0][1] > 20_000_000  # type: ignore[operator]
    assert await outcome(pool, large_text(), "a.txt") == LARGE


async def test_a_line_of_100_mb_without_white_space_takes_constant_memory(pool: SandboxPool) -> None:
    found, _ = await run(pool, (b"a" * MIB for _ in range(96)), "a.txt", SMALL, max_tokens=10**9, count=True)
    assert found[0][2] == 96 * MIB
    assert await outcome(pool, (b"a" * MIB for _ in range(96)), "a.txt") == LARGE


async def test_a_pdf_of_500_pages_is_read_within_the_memory(pool: SandboxPool) -> None:
    lines = "\n".join(f"Line {line} of a page, with words to fill it up to its margin" for line in range(40))
    content = pdf([f"Page {number}\n{lines}" for number in range(500)])
    found, _ = await run(pool, [content], "a.pdf", SMALL, count=True)
    assert found[0][1] > 200_000  # type: ignore[operator]


async def test_a_document_of_many_mb_is_streamed(pool: SandboxPool) -> None:
    body = "".join(
        paragraph(f"Paragraph {number} with some words that differ {number * 7919 % 10007}")
        for number in range(200_000)
    )
    found, _ = await run(pool, [docx(body)], "a.docx", SMALL, max_tokens=10**8, count=True)
    assert found[0][1] > 2_000_000  # type: ignore[operator]


async def test_rejections_carry_the_code_and_the_text_of_last_error(pool: SandboxPool) -> None:
    for filename, kind, message in (
        ("a.xyz", "unsupported_file", "The file type is not supported."),
        ("a.txt", "invalid_file", "The file could not be parsed because it is empty."),
    ):
        with pytest.raises(TaskRejected) as rejected:
            await run(pool, [b""], filename)
        assert (rejected.value.kind, rejected.value.message) == (kind, message)


async def test_nothing_is_imported_or_opened_after_preloading(pool: SandboxPool) -> None:
    """Formats and encodings that would load modules at first use."""
    import pypdf

    fonts = pdf(["Größe"]).replace(b"/WinAnsiEncoding", b"/MacRomanEncoding")
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["open"])))
    writer.encrypt("", "owner", algorithm="RC4-128")
    locked = io.BytesIO()
    writer.write(locked)
    assert "Gr" in await outcome(pool, [fonts], "a.pdf")
    assert "open" in await outcome(pool, [locked.getvalue()], "a.pdf")
    assert await outcome(pool, ["ä".encode("utf-16")], "a.txt") == "ä"
    assert (
        await outcome(pool, [docx(paragraph("ä"), prolog='<?xml version="1.0" encoding="UTF-8"?>')], "a.docx") == "ä\n"
    )
    legacy = docx(paragraph("a"), prolog='<?xml version="1.0" encoding="windows-1252"?>')
    assert await outcome(pool, [legacy], "a.docx") == "a\n"
