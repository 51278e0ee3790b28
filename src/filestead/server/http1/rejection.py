"""The response to a request that never reaches the application."""

from http import HTTPStatus

from filestead.server.http1.request_head import Headers

OWN_HEADERS = frozenset({b"connection", b"content-length", b"retry-after"})


def serialize_rejection(status: int, headers: Headers, body: bytes, *, to_head: bool) -> bytes:
    """Return the bytes of a response after which the connection is closed."""
    headers = [field for field in headers if field[0].lower() not in OWN_HEADERS]
    headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"1"))
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"DELETE, GET, HEAD, POST"))
    lines = b"".join(b"%b: %b\r\n" % field for field in headers)
    reason = HTTPStatus(status).phrase.encode()
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, reason, lines, b"" if to_head else body)
