"""The fields of an upload are found wherever its bytes are cut, and a file cannot pass for a field."""

import pytest

from filestead.api.forwarding.form_fields import FormFields
from filestead.api.http.errors import ApiError

FILE = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
FORM = (
    b"--B\r\n" + FILE + b'Content-Disposition: form-data; name="model"\r\n\r\nno\r\n--BX\r\n--\r\n-B\r\n'
    b"\r\n--B\r\ncontent-disposition: form-data; NAME=language\r\n\r\n\r\n--B \r\n"
    b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain\r\n\r\nwhisper\r\n--B--\r\n'
    b'--B\r\nContent-Disposition: form-data; name="api_base"\r\n\r\nx\r\n'
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_fields_are_found_wherever_the_bytes_are_cut(size: int) -> None:
    fields = FormFields(b"B")
    for start in range(0, len(FORM), size):
        fields.feed(FORM[start : start + size])
    assert fields.model == "whisper"
    assert fields.names == {"file", "language", "model"}


def test_two_models_are_refused() -> None:
    field = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n'
    with pytest.raises(ApiError):
        FormFields(b"B").feed(field % b"a" + field % b"b" + b"--B--\r\n")


@pytest.mark.parametrize(
    "form",
    [
        b"--B\r\n" + b"x: " + b"y" * 10_000,
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + b"m" * 2_000,
        b"".join(b'--B\r\nContent-Disposition: form-data; name="%d"\r\n\r\n\r\n' % number for number in range(1_100)),
    ],
    ids=["head", "model", "fields"],
)
def test_what_is_kept_is_limited(form: bytes) -> None:
    with pytest.raises(ApiError):
        FormFields(b"B").feed(form)
