"""Which headers pass to a model server, and which come back. What is not listed for a request stays here."""

import re
from collections.abc import Iterable, Mapping

from filestead.domain.observation import trace_headers

PASSED = frozenset(
    {
        *("accept", "content-type", "user-agent", "openai-beta", "idempotency-key", "x-client-request-id"),
    }
)
PASSED_PREFIX = "x-stainless-"
"""Of headers by which the official clients describe themselves."""

KEPT = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"),
        *(
            "transfer-encoding",
            "proxy-connection",
            "set-cookie",
            "set-cookie2",
            "server",
            "date",
            "alt-svc",
            "location",
        ),
        *("strict-transport-security", "content-security-policy", "www-authenticate", "x-content-type-options", "vary"),
        # These are ours, and added to every response.
        *("openai-organization", "openai-project", "openai-version", "openai-processing-ms", "cache-control"),
    }
)
"""Headers of a response that are between us and the model server."""

KEPT_PREFIX = "access-control-"
REQUEST_ID = "x-request-id"
UPSTREAM_REQUEST_ID = "x-upstream-request-id"

_PASSED = frozenset(name.encode() for name in PASSED)
_PASSED_PREFIX = PASSED_PREFIX.encode()
_VISIBLE = re.compile(r"[ -~]*")


def for_upstream(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of the current request that pass, and those of its trace; their names are in lower case.

    Keys, cookies, and whatever could instruct the model server do not.
    """
    found: dict[str, str] = {}
    for name, raw_value in headers:
        if name in _PASSED or name.startswith(_PASSED_PREFIX):
            value = raw_value.decode("latin-1")
            if _VISIBLE.fullmatch(value):
                found.setdefault(name.decode("latin-1"), value)
    return found | trace_headers()


def for_client(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers of a response that pass; `x-request-id` gets another name beside ours."""
    named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
    found = []
    for name, value in headers.items():
        if name in KEPT or name in named or name.startswith(KEPT_PREFIX):
            continue
        found.append(((UPSTREAM_REQUEST_ID if name == REQUEST_ID else name).encode(), value.encode("latin-1")))
    return found
