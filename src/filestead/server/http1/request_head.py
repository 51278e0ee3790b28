"""Checks of a request head that llhttp does not make: version, target, Host, and body framing."""

import re

Headers = list[tuple[bytes, bytes]]

FRAMING_HEADERS = frozenset({b"host", b"transfer-encoding", b"content-length"})
TARGET = re.compile(rb"/[!\"$-~]*")
AUTHORITY = rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
HOST = re.compile(AUTHORITY)
ABSOLUTE = re.compile(rb"(?i:https?)://(" + AUTHORITY + rb")(|[/?].*)", re.DOTALL)


class RequestRejected(Exception):
    """Raised in a parser callback. The parser raises its own error with this one as the context."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def check_head(method: bytes, version: str, target: bytes, headers: Headers, upgrade: bool) -> bytes:
    """Reject an invalid or unsupported head.

    Returns the target in origin form. If it has an authority, that replaces the Host header in `headers`.
    """
    authority, target = _split_target(target)
    _check_line(method, version, target)
    _check_headers(version, headers, upgrade)
    if authority is not None:
        headers[:] = [(b"host", authority), *(field for field in headers if field[0] != b"host")]
    return target


def _split_target(target: bytes) -> tuple[bytes | None, bytes]:
    """(authority, origin form) of a request target; the authority is None unless the target is in absolute form.

    A server must accept both forms; the authority of the target overrides Host (RFC 9112, section 3.2.2).
    """
    if target.startswith(b"/") or not (found := ABSOLUTE.fullmatch(target)):
        return None, target
    authority, rest = found.groups()
    return authority, rest if rest.startswith(b"/") else b"/" + rest


def _check_line(method: bytes, version: str, target: bytes) -> None:
    """Reject an unsupported version, method or target. `target` is in origin form."""
    if version not in {"1.0", "1.1"}:
        raise RequestRejected(505, "Only HTTP/1.1 and HTTP/1.0 are served.")
    if method == b"CONNECT":
        raise RequestRejected(405, "Not allowed to CONNECT. This server is not a proxy.")
    if not TARGET.fullmatch(target):
        raise RequestRejected(400, "The request target must be an absolute path or URL.")


def _check_headers(version: str, headers: Headers, upgrade: bool) -> None:
    """Reject an ambiguous Host, and any framing that two implementations could interpret differently."""
    headers = [field for field in headers if field[0] in FRAMING_HEADERS]
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise RequestRejected(400, "A request must have one Host header.")
    if hosts and not HOST.fullmatch(hosts[0]):
        raise RequestRejected(400, "The Host header is not a host and port.")
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and version == "1.0":
        raise RequestRejected(400, "HTTP/1.0 has no Transfer-Encoding.")
    if codings not in ([], [b"chunked"]):
        raise RequestRejected(501, "The only Transfer-Encoding served is chunked.")
    # llhttp treats data after an upgrade as another protocol, so a body would be parsed as the next request.
    if upgrade and (codings or any(name == b"content-length" and value != b"0" for name, value in headers)):
        raise RequestRejected(400, "A request with a body cannot ask for an upgrade.")
