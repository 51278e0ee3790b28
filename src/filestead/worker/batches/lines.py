"""The formats of lines: what a request line holds, and the lines of the output and error files to the letter.

Source: section "Output and error lines" of the recorded behaviour; the order of the keys is that of the hosted service.
"""

import hashlib

import msgspec
from msgspec import Raw

from filestead.domain.batches.model import TokenUsage
from filestead.domain.errors import FileReferenceRejected
from filestead.domain.jsonl.lines import without_lone_surrogates
from filestead.inference.exchanges import Exchange

MAX_QUOTED = 1_000
"""Characters of a response that is not JSON, as quoted in an error."""

CANCELLED = ("batch_cancelled", "This request was not executed because the batch was cancelled.")
EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
TIMEOUT = ("request_timeout", "The request timed out.")
FAILED = "request_failed"
"""The code of a request that brought no response in any attempt; not of the hosted service."""


class RequestLine(msgspec.Struct, gc=False):
    """What a validated line holds, as JSON text."""

    custom_id: Raw
    body: Raw


_decode_line = msgspec.json.Decoder(RequestLine).decode
_decode_any = msgspec.json.Decoder(Raw).decode
_encode = msgspec.json.encode
_BREAKS_TO_BLANKS = bytes.maketrans(b"\r\n", b"  ")


def parse_request(line: bytes) -> tuple[bytes, bytes]:
    """The JSON texts of `custom_id` and `body`, byte for byte. The line is valid."""
    try:
        found = _decode_line(line)
    except msgspec.DecodeError:
        # Escapes of half a pair, which the decoder rejects: look for the members with others of the same length.
        changed = without_lone_surrogates(line)
        found = _decode_line(changed)
        return _original(line, changed, bytes(found.custom_id)), _original(line, changed, bytes(found.body))
    return bytes(found.custom_id), bytes(found.body)


def _original(line: bytes, changed: bytes, part: bytes) -> bytes:
    """The part of the line that was changed to this, if it is the only such part."""
    start = changed.find(part)
    return line[start : start + len(part)] if changed.find(part, start + 1) < 0 else part


def batch_request_id(batch_id: str, number: int) -> str:
    """The `id` of the result of a line: a function of both, so that it is the same in each attempt."""
    return f"batch_req_{hashlib.blake2b(f'{batch_id}:{number}'.encode(), digest_size=16).hexdigest()}"


def response_line(
    result_id: str, custom_id: bytes, status: int, request_id: str, body: bytes, *, seconds: float
) -> bytes:
    """A line with a response; the body becomes part of it as it came, but on one line.

    `seconds` is the duration of the request. `latency_ms` is not of the hosted service, and so comes last.
    """
    return b'{"id":"%b","custom_id":%b,"response":{"status_code":%d,"request_id":"%b","body":%b},%b%d}\n' % (
        result_id.encode(),
        custom_id,
        status,
        request_id.encode(),
        one_line_json(body),
        b'"error":null,"latency_ms":',
        round(1000 * seconds),
    )


def error_line(result_id: str, custom_id: bytes, code: str, message: str) -> bytes:
    """A line without a response."""
    return b'{"id":"%b","custom_id":%b,"response":null,"error":{"code":%b,"message":%b}}\n' % (
        result_id.encode(),
        custom_id,
        _encode(code),
        _encode(message),
    )


def rejection_body(rejected: FileReferenceRejected) -> bytes:
    """The body of a response to a line that names a file which cannot be sent, as to any other client."""
    error = {
        "message": rejected.message,
        "type": "invalid_request_error",
        "param": rejected.member,
        "code": rejected.code,
    }
    return _encode({"error": error})


def one_line_json(body: bytes) -> bytes:
    """The body as JSON without line breaks. A body that is not JSON is quoted in an error object."""
    try:
        body = body.strip(b" \t\r\n")
        if not body.isascii():
            body.decode()  # the decoder below skips strings, and does not look at their encoding
        plain = without_lone_surrogates(body)
        _decode_any(plain)
        if b"\n" not in body and b"\r" not in body:
            return body
        # Line breaks in valid JSON are blanks between values.
        return msgspec.json.format(body, indent=-1) if plain is body else body.translate(_BREAKS_TO_BLANKS)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        text = body[: 4 * MAX_QUOTED].decode(errors="replace")[:MAX_QUOTED]
        error = {"message": text, "type": "invalid_response", "param": None, "code": None}
        return _encode({"error": error})


def usage_of(exchange: Exchange) -> TokenUsage:
    """What a response of 2xx adds to the usage of its batch."""
    used = exchange.usage
    return TokenUsage(used.input, used.cached, used.output, used.reasoning, used.input + used.output)
