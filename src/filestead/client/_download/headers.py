"""Response headers that describe the content of a file: validator, digest, encoding, name."""

import base64
import binascii
import re
from urllib.parse import unquote

from filestead.client._transport.exchange import ResponseHead

SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):", re.ASCII)
STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
EXTENDED_FILENAME = re.compile(r"filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
PLAIN_FILENAME = re.compile(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)


def strong_etag(head: ResponseHead) -> str | None:
    """The ETag, if it is strong: only a strong one identifies the same bytes."""
    value = head.headers.get("etag", "").strip()
    return value if STRONG_ETAG.fullmatch(value) else None


def is_encoded(head: ResponseHead) -> bool:
    """Whether the body has a content coding."""
    return head.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}


def expected_digest(head: ResponseHead) -> bytes | None:
    """The SHA-256 of the whole file, from `Repr-Digest` (RFC 9530)."""
    match = SHA256.search(head.headers.get("repr-digest", ""))
    try:
        digest = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        return None
    return digest if len(digest) == 32 else None


def content_filename(head: ResponseHead) -> str | None:
    """The name in `Content-Disposition` (RFC 6266); the extended form has precedence."""
    header = head.headers.get("content-disposition", "")
    if match := EXTENDED_FILENAME.search(header):
        return unquote(match[1], errors="replace")
    if match := PLAIN_FILENAME.search(header):
        return re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2]
    return None
