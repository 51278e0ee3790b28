"""One exchange with the server: attempts and redirects, decided without I/O.

`exchange` is a generator: it yields steps (`Send`, `Wait`) for a session to execute, and is sent their outcome.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from filestead.client._transport import retries
from filestead.client._transport.requests import JSON, Request
from filestead.client._upload import multipart
from filestead.client.config import Config, Headers, merge_headers
from filestead.client.errors import APIConnectionError, RedirectError

MAX_REQUESTS = 10
"""Of one attempt: the first request and those after redirects."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Sent to another origin. Any other header may be a credential, whatever its name.
PUBLIC_HEADERS = frozenset({"accept", "accept-encoding", "content-type", "if-range", "range", "user-agent"})
BODY_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding", "idempotency-key"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request as it is sent, without its body."""

    method: str
    url: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response without its body; `headers` is case-insensitive."""

    status: int
    reason: str
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Send:
    """Close the previous response, send this request, and report the head of its response or the failure."""

    head: RequestHead
    body: bytes | multipart.EncodedForm | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for this many seconds."""

    seconds: float


Outcome = ResponseHead | APIConnectionError
Exchange = Generator[Send | Wait | None, Outcome | None, None]


def exchange(request: Request, config: Config) -> Exchange:
    """Yield steps, then None when the last response is final. Raises `APIConnectionError`, `RedirectError`."""
    body = multipart.encode(request.body) if isinstance(request.body, tuple) else request.body
    may_retry = request.retryable and (not isinstance(body, multipart.EncodedForm) or body.replayable)
    retry = 0
    while True:
        outcome = yield from _send_following_redirects(first_request(request, body, config, retry))
        if not may_retry or retry >= config.max_retries:
            seconds = None
        elif isinstance(outcome, APIConnectionError):
            seconds = retries.backoff(retry) if request.retries_disconnects else None
        else:
            seconds = retries.delay_after_status(outcome.status, outcome.headers, retry)
        if seconds is None:
            if isinstance(outcome, APIConnectionError):
                raise outcome
            yield None
            return
        retry += 1
        yield Wait(seconds)


def first_request(request: Request, body: bytes | multipart.EncodedForm | None, config: Config, retry: int) -> Send:
    """The request with the headers of the client; headers of the request have precedence."""
    headers: list[tuple[str, str]] = [
        ("Accept", JSON),
        ("Accept-Encoding", "gzip, deflate"),
        ("User-Agent", config.user_agent),
        ("x-stainless-retry-count", str(retry)),
    ]
    if isinstance(body, multipart.EncodedForm):
        headers.append(("Content-Type", body.content_type))
        if body.length is not None:
            headers.append(("Content-Length", str(body.length)))
    elif body is not None:
        headers.append(("Content-Type", JSON))
    headers = merge_headers(merge_headers(headers, config.headers), request.headers)
    return Send(RequestHead(request.method, config.base_url + request.target, tuple(headers)), body)


def _send_following_redirects(send: Send) -> Generator[Send | Wait, Outcome | None, Outcome]:
    for _ in range(MAX_REQUESTS):
        outcome = yield send
        if not isinstance(outcome, ResponseHead):
            assert outcome is not None, "a Send has an outcome"
            return outcome
        location = outcome.headers.get("location")
        if outcome.status not in REDIRECTS or not location:
            return outcome
        send = redirect_request(send, outcome.status, location)
    raise RedirectError(f"stopped after {MAX_REQUESTS} redirects; the last one led to {send.head.url}")


def redirect_request(send: Send, status: int, location: str) -> Send:
    """The request after a redirect, as the HTTP client of Go builds it: 301 to 303 make a GET of every other method."""
    head, body = send.head, send.body
    url = _redirect_url(head, location)
    method, headers = head.method, head.headers
    if status in {301, 302, 303} and method not in {"GET", "HEAD"}:
        method, body = "GET", None
        headers = tuple(pair for pair in headers if pair[0].lower() not in BODY_HEADERS)
    elif isinstance(body, multipart.EncodedForm):
        raise RedirectError(
            f"the upload to {head.url} was redirected to {url} (status {status}), and a streamed upload is not sent "
            "twice; use that address as the base URL"
        )
    if not is_same_origin(head.url, url):
        # A DELETE that has become a GET there would look as if it had been done.
        _check_other_origin("DELETE" if head.method == "DELETE" else method, head, url, status)
        headers = tuple(pair for pair in headers if pair[0].lower() in PUBLIC_HEADERS)
    return replace(send, head=RequestHead(method, url, headers), body=body)


def _check_other_origin(method: str, head: RequestHead, url: str, status: int) -> None:
    """Raise `RedirectError` for a change at another origin, and for a request that loses TLS."""
    redirect = f"{head.method} {head.url} was redirected to {url} (status {status})"
    if method not in {"GET", "HEAD"}:
        raise RedirectError(
            f"{redirect}, and a {method} is not repeated at another origin; use that address as the base URL"
        )
    if head.url.startswith("https:") and url.startswith("http:"):
        raise RedirectError(f"{redirect}, which is not protected by TLS")


def _redirect_url(head: RequestHead, location: str) -> str:
    try:
        url = urljoin(head.url, location)
        parts = urlsplit(url)
        # A user name and a password in the URL would become credentials that the server chose.
        if parts.scheme in {"http", "https"} and _origin(url)[1] and "@" not in parts.netloc:
            return url
    except ValueError:
        pass
    raise RedirectError(f"{head.method} {head.url} was redirected to {location!r}, which is not an http address")


def is_same_origin(old: str, new: str) -> bool:
    """Whether scheme, host and port are equal, or differ only by an upgrade to TLS on the standard ports."""
    before, after = _origin(old), _origin(new)
    upgraded = before[0] == "http" and before[2] == 80 and after == ("https", before[1], 443)
    return before == after or upgraded


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
