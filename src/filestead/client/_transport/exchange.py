"""One exchange with the server: tries and redirects, decided without doing any I/O.

`exchange` is a generator: it yields what to do (`Send`, `Wait`) and is sent what came of it. The sync and the async
session drive it, each in a few lines.
"""

import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from filestead.client._transport import retries
from filestead.client._transport.requests import JSON, Request
from filestead.client._upload import multipart
from filestead.client.config import Config, Headers, override
from filestead.client.errors import APIConnectionError, RedirectError

MAX_REQUESTS = 10
"""Of one try: the first and those that redirects lead to."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What another origin may see. Any other header could be a credential, under whichever name.
PUBLIC_HEADERS = frozenset({"accept", "accept-encoding", "content-type", "if-range", "range", "user-agent"})
BODY_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding", "idempotency-key"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request as it goes on the wire, without its body."""

    method: str
    url: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """An answer without its body; `headers` takes names in any case."""

    status: int
    reason: str
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Send:
    """Send this and report the head of the answer, or the failure; the answer before it is done with."""

    head: RequestHead
    body: bytes | multipart.Encoded | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass."""

    seconds: float


Outcome = AnswerHead | APIConnectionError
Exchange = Generator[Send | Wait, Outcome | None, None]


def exchange(request: Request, config: Config) -> Exchange:
    """Send until there is an answer to keep: the last one reported. Raises `APIConnectionError`, `RedirectError`."""
    body = multipart.encode(request.body) if isinstance(request.body, tuple) else request.body
    may_retry = request.retryable and (not isinstance(body, multipart.Encoded) or body.replayable)
    done = 0
    while True:
        outcome = yield from _follow(first(request, body, config, done))
        if not may_retry or done >= config.max_retries:
            seconds = None
        elif isinstance(outcome, APIConnectionError):
            seconds = retries.backoff(done, random=random.random)
        else:
            seconds = retries.delay_after_status(
                outcome.status, outcome.headers, done, now=time.time, random=random.random
            )
        if seconds is None:
            if isinstance(outcome, APIConnectionError):
                raise outcome
            return
        done += 1
        yield Wait(seconds)


def first(request: Request, body: bytes | multipart.Encoded | None, config: Config, retry: int) -> Send:
    """The request with everything that a server is to see; the request's own headers win."""
    headers: list[tuple[str, str]] = [
        ("Accept", JSON),
        ("Accept-Encoding", "gzip, deflate"),
        ("User-Agent", config.user_agent),
        ("x-stainless-retry-count", str(retry)),
    ]
    if isinstance(body, multipart.Encoded):
        headers.append(("Content-Type", body.content_type))
        if body.length is not None:
            headers.append(("Content-Length", str(body.length)))
    elif body is not None:
        headers.append(("Content-Type", JSON))
    headers = override(override(headers, config.headers), request.headers)
    return Send(RequestHead(request.method, config.base_url + request.target, tuple(headers)), body)


def _follow(send: Send) -> Generator[Send | Wait, Outcome | None, Outcome]:
    for _ in range(MAX_REQUESTS):
        outcome = yield send
        if not isinstance(outcome, AnswerHead):
            assert outcome is not None, "a Send is answered with its outcome"
            return outcome
        location = outcome.headers.get("location")
        if outcome.status not in REDIRECTS or not location:
            return outcome
        send = redirected(send, outcome.status, location)
    raise RedirectError(f"stopped after {MAX_REQUESTS} redirects; the last one led to {send.head.url}")


def redirected(send: Send, status: int, location: str) -> Send:
    """The request that a redirect asks for, as browsers make it (Fetch, "HTTP-redirect fetch")."""
    head, body = send.head, send.body
    url = _target(head, location)
    method, headers = head.method, head.headers
    if (status == 303 and method != "HEAD") or (status in {301, 302} and method == "POST"):
        method, body = "GET", None
        headers = tuple(pair for pair in headers if pair[0].lower() not in BODY_HEADERS)
    elif isinstance(body, multipart.Encoded):
        raise RedirectError(
            f"the upload to {head.url} was redirected to {url} (status {status}), and a streamed upload is not sent "
            "twice; use that address as the base URL"
        )
    if not same_origin(head.url, url):
        _check_other_origin(method, head, url, status)
        headers = tuple(pair for pair in headers if pair[0].lower() in PUBLIC_HEADERS)
    return replace(send, head=RequestHead(method, url, headers), body=body)


def _check_other_origin(method: str, head: RequestHead, url: str, status: int) -> None:
    """Refuse what a server may not have done elsewhere on the caller's account: a change, or a request without TLS."""
    led = f"{head.method} {head.url} was redirected to {url} (status {status})"
    if method not in {"GET", "HEAD"}:
        raise RedirectError(
            f"{led}, and a {method} is not repeated at another origin; use that address as the base URL"
        )
    if head.url.startswith("https:") and url.startswith("http:"):
        raise RedirectError(f"{led}, which is not protected by TLS")


def _target(head: RequestHead, location: str) -> str:
    try:
        url = urljoin(head.url, location)
        parts = urlsplit(url)
        # A name and a password in the URL would become an Authorization that the server chose.
        if parts.scheme in {"http", "https"} and _origin(url)[1] and "@" not in parts.netloc:
            return url
    except ValueError:
        pass
    raise RedirectError(f"{head.method} {head.url} was redirected to {location!r}, which is no http address")


def same_origin(old: str, new: str) -> bool:
    """Scheme, host and port are the same, or only TLS was added at the standard ports."""
    before, after = _origin(old), _origin(new)
    upgraded = before[0] == "http" and before[2] == 80 and after == ("https", before[1], 443)
    return before == after or upgraded


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
