"""Raw requests: invalid heads and chunked bodies, and unusual valid ones with the scope that the app must receive."""

from typing import Any

from .raw_http import CHUNKED, post, request


def lines(*wrong: bytes, status: int = 400) -> dict[bytes, tuple[bytes, int]]:
    return {line: (request(line=line), status) for line in wrong}


def hosts(*values: bytes) -> dict[bytes, tuple[bytes, int]]:
    return {b"Host: " + value: (request(host=b"Host: " + value), 400) for value in values}


def fields(*wrong: bytes, body: bytes = b"abc", status: int = 400) -> dict[bytes, tuple[bytes, int]]:
    return {field: (post(field, body=body), status) for field in wrong}


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

REJECTED_HEADS: dict[bytes, tuple[bytes, int]] = {
    **fields(b"Content-Length: +3", b"Content-Length: -3", b"Content-Length: 1_0", b"Content-Length: 0x3"),
    **fields(b"Content-Length: 3 3", b"Content-Length: 3, 3", b"Content-Length: ", b"Content-Length: 3;"),
    **fields(b"Content-Length: 3\r\nContent-Length: 3", b"Content-Length: 3\r\nContent-Length: 4"),
    **fields(b"Content-Length: 18446744073709551616", b"Content-Length: \xd9\xa3", b"Content-Length : 3"),
    **fields(CHUNKED + b"\r\nContent-Length: 5", b"Content-Length: 5\r\n" + CHUNKED, body=LAST_CHUNK + b"G"),
    **fields(CHUNKED + b", chunked", CHUNKED + b"\r\n" + CHUNKED, CHUNKED + b", identity", body=LAST_CHUNK),
    **fields(CHUNKED + b"\r\nTransfer-Encoding: gzip", b"Transfer-Encoding: \x0bchunked", body=LAST_CHUNK),
    **fields(b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding:", body=LAST_CHUNK),
    **fields(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: xchunked", body=LAST_CHUNK, status=501),
    **fields(b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked;q=1", status=501),
    **fields(b"Transfer-Encoding: gzip\r\n" + CHUNKED, b'Transfer-Encoding: "chunked"', body=LAST_CHUNK, status=501),
    **fields(b"X: a\r\n b", b"X: a\r\n\tb", b"X : a", b"X\t: a", b": a", b"no colon", b"X(: a", b"X\xff: a", b"X\0: a"),
    **fields(b"X: a\0b", b"X: a\x01b", b"X: a\x7fb", b"X: a\rb", b"X: a\nb: c", b"X: a\r", b"X: a\nContent-Length: 3"),
    **fields(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 37", body=SMUGGLED),
    **fields(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + CHUNKED, body=LAST_CHUNK + SMUGGLED),
    **lines(b"FOO / HTTP/1.1", b"get / HTTP/1.1", b"__class__ / HTTP/1.1", b"GET\t/ HTTP/1.1", b" GET / HTTP/1.1"),
    **lines(
        b"GET / HTTP/1.2", b"GET / HTTP/1.10", b"GET / http/1.1", b"GET / HTTP/1.1 ", b"GET / HTTP/", b"GET / X/1.1"
    ),
    **lines(b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET /", status=505),
    **lines(b"CONNECT t:80 HTTP/1.1", b"CONNECT / HTTP/1.1", status=405),
    **lines(b"GET http://u@t/ HTTP/1.1", b"GET t:80 HTTP/1.1", b"GET http:// HTTP/1.1", b"GET http:///a HTTP/1.1"),
    **lines(
        b"GET ftp://t/ HTTP/1.1", b"GET http://t:x/ HTTP/1.1", b"GET http://t\\a HTTP/1.1", b"GET http:/a HTTP/1.1"
    ),
    **lines(b"GET http://t#a HTTP/1.1", b"GET http://t/#a HTTP/1.1", b"GET xhttp://t/ HTTP/1.1"),
    b"an absolute target without host": (request(line=b"GET http://t/ HTTP/1.1", host=b""), 400),
    b"an absolute target with a bad host": (request(line=b"GET http://t/ HTTP/1.1", host=b"Host: a@t"), 400),
    **lines(b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET a HTTP/1.1", b"GET @t HTTP/1.1", b"GET ?a HTTP/1.1"),
    **lines(
        b"GET \\a HTTP/1.1", b"GET /a#b HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /?\xff HTTP/1.1", b"GET /\0 HTTP/1.1"
    ),
    **lines(b"GET /a\tb HTTP/1.1", b"GET /a b HTTP/1.1", b"PRI * HTTP/2.0"),
    **hosts(
        b"x/#@y", b"a@t", b"a b", b"t:80:80", b"t:x", b"t:", b"[::1", b"a?b", b"a\\b", b"a,b", b"http://t", b"\xff"
    ),
    **hosts(b"", b"t\r\nHost: t", b"t\r\nHost: u", b"t\rX", b"-@", b"t:999999"),
    b"no host": (request(host=b""), 400),
    b"two hosts in 1.0": (request(b"Host: u", line=b"GET / HTTP/1.0"), 400),
    b"chunked in 1.0": (request(CHUNKED, line=b"POST / HTTP/1.0", body=LAST_CHUNK), 400),
    b"bare LF": (b"GET / HTTP/1.1\nHost: t\n\n", 400),
    b"bare LF after the line": (b"GET / HTTP/1.1\nHost: t\r\n\r\n", 400),
    b"bare LF at the end": (b"GET / HTTP/1.1\r\nHost: t\r\n\n", 400),
    b"fold in the first header": (request(host=b" Host: t"), 400),
    b"a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}

REJECTED_BODIES = [
    *(
        b"-3\r\nabc\r\n",
        b"+3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"g\r\nabc\r\n",
        b"\r\nabc\r\n",
        b" 3\r\nabc\r\n",
        b"3 \r\nabc\r\n",
    ),
    *(b"fffffffffffffffff\r\nabc\r\n", b"3\nabc\r\n", b"3\rabc\r\n", b"3\r\nabc\n", b"3\r\nabc0\r\n", b"3\r\nabcd\r\n"),
    *(
        b"5\r\nabc\r\n" + LAST_CHUNK,
        b"3;\r\nabc\r\n",
        b"3;\x01\r\nabc\r\n",
        b"3;a\nabc\r\n",
        b'3;a="\n"\r\nabc\r\n',
        b"3 ;a\r\nabc\r\n",
    ),
    *(
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX: y\r\n z\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\nX: \0\r\n\r\n",
    ),
    *(b"0\r\nContent-Length: 5\r\n\r\n", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n\r\n\r\n"),
]

ACCEPTED_REQUESTS: dict[bytes, tuple[bytes, dict[str, Any]]] = {
    b"several blanks": (request(line=b"GET  /a   HTTP/1.1"), {"path": "/a", "http_version": "1.1"}),
    b"blank lines first": (b"\r\n\r\n" + request(), {"size": 0}),
    b"lengths": (post(b"Content-Length: 003 \t"), {"size": 3, "headers": [["host", "t"], ["content-length", "003"]]}),
    b"a request as body": (post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED), {"size": len(SMUGGLED)}),
    b"a request as body of GET": (request(b"Content-Length: 35", body=SMUGGLED), {"size": 35, "method": "GET"}),
    b"a request as chunk": (post(CHUNKED, body=b"23\r\n" + SMUGGLED + b"\r\n" + LAST_CHUNK), {"size": 35}),
    b"underscored names": (request(b"Content_Length: 3", b"Transfer_Encoding: chunked"), {"size": 0}),
    b"chunked, blanks and case": (
        post(b"Transfer-Encoding: \t Chunked ", body=b"003\r\nabc\r\n00\r\n\r\n"),
        {"size": 3},
    ),
    b"chunk extensions": (post(CHUNKED, body=b'3;a=b;c="d e"\r\nabc\r\n0;x\r\n\r\n'), {"size": 3}),
    b"trailers": (
        post(CHUNKED, body=b"3\r\nabc\r\n0\r\nHost: u\r\nAuthorization: Bearer x\r\n\r\n"),
        {"size": 3, "headers": [["host", "t"], ["transfer-encoding", "chunked"]]},
    ),
    b"encoded dots": (request(line=b"GET /a/%2e%2e/b HTTP/1.1"), {"raw_path": "/a/%2e%2e/b", "path": "/a/../b"}),
    b"encoded slash": (request(line=b"GET /a%2Fb HTTP/1.1"), {"raw_path": "/a%2Fb", "path": "/a/b"}),
    b"two slashes": (request(line=b"GET //u/a HTTP/1.1"), {"raw_path": "//u/a", "path": "//u/a"}),
    b"backslash": (request(line=b"GET /..\\a?\\ HTTP/1.1"), {"raw_path": "/..\\a", "query_string": "\\"}),
    b"odd query": (request(line=b'GET /a?b?c=//d@e:1&"<> HTTP/1.1'), {"query_string": 'b?c=//d@e:1&"<>'}),
    b"encoded NUL and LF": (request(line=b"GET /%00%0a HTTP/1.1"), {"raw_path": "/%00%0a"}),
    b"a host with port": (request(host=b"Host: my_service.a-b:8000 "), {"headers": [["host", "my_service.a-b:8000"]]}),
    b"an IPv6 host": (request(host=b"Host: [::1]:80"), {"headers": [["host", "[::1]:80"]]}),
    b"bytes above ASCII": (request(b"X: a\xffb"), {"headers": [["host", "t"], ["x", "a\xffb"]]}),
    b"other methods": (request(line=b"PATCH / HTTP/1.1"), {"method": "PATCH"}),
    b"TRACE": (request(line=b"TRACE / HTTP/1.1"), {"method": "TRACE"}),
    b"an absolute target": (
        request(b"X: y", line=b"GET http://u:80/a?b HTTP/1.1"),
        {"raw_path": "/a", "query_string": "b", "headers": [["host", "u:80"], ["x", "y"]]},
    ),
    b"an absolute target without path": (
        request(line=b"GET HTTP://u?b HTTP/1.1"),
        {"raw_path": "/", "query_string": "b", "headers": [["host", "u"]]},
    ),
    b"an absolute target of TLS": (request(line=b"GET https://[::1]/ HTTP/1.1"), {"headers": [["host", "[::1]"]]}),
}

LAST_REQUESTS: dict[bytes, tuple[bytes, dict[str, Any]]] = {
    b"HTTP/1.0": (request(line=b"GET / HTTP/1.0"), {"http_version": "1.0"}),
    b"HTTP/1.0 without host": (request(line=b"GET / HTTP/1.0", host=b""), {"http_version": "1.0"}),
    b"RTSP": (request(line=b"GET /a RTSP/1.0"), {"path": "/a", "http_version": "1.0"}),
    b"close": (request(b"Connection: close"), {}),
    b"h2c": (request(b"Connection: Upgrade", b"Upgrade: h2c"), {"method": "GET"}),
    b"websocket": (request(b"Connection: Upgrade", b"Upgrade: websocket"), {"method": "GET"}),
}
