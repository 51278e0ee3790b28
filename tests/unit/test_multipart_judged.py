"""The multipart reader against generated bodies: read as built, however cut, and as two other parsers read them."""

import re

import multipart
import pytest
import python_multipart
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from filestead.api.http.multipart import Event, MultipartError, MultipartReader, parse_boundary

from .multipart_corpus import FIELD, FILE, UPLOADS, B, Part, Upload, disposition, form, joined, part, read

# --- properties -----------------------------------------------------------------------------------------------------

boundaries = st.from_regex(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]", fullmatch=True).map(str.encode)
simple_names = st.text(st.characters(codec="utf-8", exclude_categories=("C",), exclude_characters='"\\%'), max_size=20)
contents = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"x", b"\r\n--", b"\0\xff", b"a:b"]) | st.binary(max_size=9),
    max_size=12,
).map(b"".join)
forms = st.lists(st.tuples(simple_names, st.none() | simple_names, contents), max_size=6)


def built(boundary: bytes, parts: list[Part], preamble: bytes = b"", epilogue: bytes = b"") -> bytes:
    body = preamble
    for name, filename, content in parts:
        head = f'Content-Disposition: form-data; name="{name}"'
        head += "" if filename is None else f'; filename="{filename}"\r\nContent-Type: application/octet-stream'
        body += part(content, head.encode() + b"\r\n", boundary)
    return form(body, boundary=boundary) + epilogue


@given(boundaries, forms, st.sampled_from([b"", b"\r\n", b"hello\r\n"]), contents, st.data())
def test_what_was_built_is_read_in_any_chunks(
    boundary: bytes, parts: list[Part], preamble: bytes, epilogue: bytes, data: st.DataObject
) -> None:
    # RFC 2046 makes it the sender's duty to choose a boundary that no content holds.
    assume(all(b"--" + boundary not in b"\r\n" + content for _, _, content in parts))
    assume(b"--" + boundary not in preamble)
    body = built(boundary, parts, preamble, epilogue)
    assert read(body, boundary) == parts
    assert read(body, boundary, 1) == parts
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=9)))
    reader = MultipartReader(boundary)
    events: list[Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        events += reader.feed(body[start:end])
    reader.close()
    assert joined(events) == parts


@given(forms, st.data())
def test_a_form_cut_before_its_end_is_never_whole(parts: list[Part], data: st.DataObject) -> None:
    assume(all(b"--" + B not in content for _, _, content in parts))
    body = built(B, parts)
    cut = data.draw(st.integers(0, len(body) - 3))
    reader = MultipartReader(B)
    reader.feed(body[:cut])
    with pytest.raises(MultipartError):
        reader.close()


def quoted(name: str, style: str) -> str:
    if style == "browser":
        return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return name.replace("\\", "\\\\").replace('"', '\\"')


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1))
def test_any_name_survives_the_ways_clients_write_it(name: str) -> None:
    if not re.search("%(22|0D|0A)", name):
        assert disposition(f'form-data; name="f"; filename="{quoted(name, "go")}"') == ("f", name)
        if not re.search(r'\\["\\]|\\$', name):
            assert disposition(f'form-data; name="f"; filename="{quoted(name, "browser")}"') == ("f", name)
    percent = "".join(f"%{byte:02X}" for byte in name.encode())
    assert disposition(f"form-data; name=f; filename*=utf-8''{percent}") == ("f", name)


# --- other parsers as judges ----------------------------------------------------------------------------------------


def as_multipart_reads(body: bytes, boundary: bytes) -> list[Part] | None:
    parts: list[Part] = []
    try:
        parser = multipart.PushMultipartParser(boundary, max_header_size=9000, max_header_count=16, strict=False)
        for event in parser.parse(body):
            if isinstance(event, multipart.MultipartSegment):
                parts.append((event.name, event.filename, b""))
            elif event is not None:
                name, filename, content = parts.pop()
                parts.append((name, filename, content + event))
        parser.close()
    except multipart.MultipartError:
        return None
    return parts


def as_python_multipart_reads(body: bytes, boundary: bytes) -> list[Part] | None:
    parts: list[Part] = []
    seen: dict[str, bytes] = {"head": b""}

    def header(data: bytes, start: int, end: int) -> None:
        seen["head"] += data[start:end]

    def header_name(data: bytes, start: int, end: int) -> None:
        seen["name"] = seen.get("name", b"") + data[start:end]

    def header_end() -> None:
        if seen.pop("name", b"").lower() == b"content-disposition":
            seen["disposition"] = seen["head"]
        seen["head"] = b""

    def headers_finished() -> None:
        _, options = python_multipart.multipart.parse_options_header(seen.pop("disposition", b""))
        filename = options.get(b"filename")
        name = options.get(b"name", b"").decode(errors="replace")
        parts.append((name, None if filename is None else filename.decode(errors="replace"), b""))

    def data(data: bytes, start: int, end: int) -> None:
        name, filename, content = parts.pop()
        parts.append((name, filename, content + data[start:end]))

    callbacks = {
        "on_header_field": header_name,
        "on_header_value": header,
        "on_header_end": header_end,
        "on_headers_finished": headers_finished,
        "on_part_data": data,
        "on_end": lambda: seen.update(end=b""),
    }
    try:
        parser = python_multipart.MultipartParser(boundary, callbacks, max_header_count=16, max_header_size=9000)
        parser.write(body)
    except python_multipart.exceptions.FormParserError:
        return None
    return parts if "end" in seen else None


def as_we_read(body: bytes, boundary: bytes) -> list[Part] | None:
    try:
        return read(body, boundary)
    except MultipartError:
        return None


# The others leave escapes as they are or undo them in other ways, do not read `filename*`, and end a value without
# quotes where RFC 9110 ends it.
_READ_DIFFERENTLY = re.compile(
    rb"[\\%*]|name=[!#$&'+\-.^_`|~0-9A-Za-z]*[^!#$&'+\-.^_`|~0-9A-Za-z\"; \r]", re.IGNORECASE
)


def assert_nobody_sees_other_parts(body: bytes, boundary: bytes) -> bool:
    """Whether another parser accepts this body too; if so, it sees the parts that we see."""
    ours = as_we_read(body, boundary)
    if ours is None:
        return False
    agreed = False
    for judge in (as_multipart_reads, as_python_multipart_reads):
        theirs = judge(body, boundary)
        if theirs is None:
            continue
        agreed = True
        assert [content for _, _, content in theirs] == [content for _, _, content in ours], judge.__name__
        if not _READ_DIFFERENTLY.search(body):
            assert theirs == ours, judge.__name__
    return agreed


@pytest.mark.parametrize("upload", UPLOADS, ids=lambda upload: upload.client)
def test_other_parsers_see_the_same_parts_in_real_uploads(upload: Upload) -> None:
    assert assert_nobody_sees_other_parts(upload.body, parse_boundary(upload.content_type))


@given(forms)
def test_other_parsers_see_the_same_parts_in_valid_forms(parts: list[Part]) -> None:
    assume(all(b"--" + B not in content for _, _, content in parts))
    assert assert_nobody_sees_other_parts(built(B, parts), B)


TRICKS = [
    b"\r\n",
    b"\r",
    b"\n",
    b"--",
    b"-",
    b" ",
    b"\t",
    b"\0",
    b'"',
    b";",
    b":",
    b"=",
    b"\\",
    b"%22",
    b"*",
    B,
    b"--" + B,
    b"\r\n--" + B,
    b"\r\n--" + B + b"--",
    b"--" + B + b"\r\n",
    b"\r\n\r\n",
    FIELD,
    FILE,
    b'; name="g"',
    b'; filename="b"',
    b"; filename*=utf-8''b",
    b"Content-Length: 3\r\n",
    b"Content-Type: text/plain\r\n",
]
mutations = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 4), st.sampled_from(TRICKS) | st.binary(max_size=2)),
    min_size=1,
    max_size=4,
)


def mutated(body: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for where, removed, inserted in edits:
        at = int(where * len(body))
        body = body[:at] + inserted + body[at + removed :]
    return body


@settings(max_examples=400)
@given(forms.filter(bool) | st.just([("purpose", None, b"batch"), ("file", "a", b"1\r\n2")]), mutations)
def test_no_mutated_body_is_read_as_other_parts_elsewhere(
    parts: list[Part], edits: list[tuple[float, int, bytes]]
) -> None:
    assert_nobody_sees_other_parts(mutated(built(B, parts), edits), B)


def test_no_single_edit_of_a_form_is_read_as_other_parts_elsewhere() -> None:
    """Every trick at every place: what a random search might miss."""
    body = form(part(b"batch"), part(b"1\r\n2", FILE))
    for at in range(len(body) + 1):
        for trick in TRICKS:
            for removed in (0, 1, 2, len(trick)):
                assert_nobody_sees_other_parts(body[:at] + trick + body[at + removed :], B)
