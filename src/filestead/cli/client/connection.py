"""Opens a session with the server from flags and environment, and turns responses into text or errors."""

import contextlib
import os
import re
import sys
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from filestead import __version__
from filestead.cli.client.grammar.model import ParsedArgs
from filestead.cli.errors import CommandError, UsageError
from filestead.client._transport.exchange import RequestHead, ResponseHead
from filestead.client._transport.requests import Request
from filestead.client._transport.session import Session
from filestead.client.config import Config, configure
from filestead.client.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx2

_SECRETS = frozenset({"api-key", "x-api-key", "cookie", "set-cookie", "proxy-authorization"})
_MASK = "<REDACTED>"


class StatusError(Exception):
    """The server responded with an error status; `error` is the text of its error object, or None."""

    def __init__(self, method: str, head: ResponseHead, body: bytes) -> None:
        request_id = head.headers.get("x-request-id")
        suffix = f" (request id: {request_id})" if request_id else ""
        super().__init__(f'{method} "{head.url}": {head.status} {head.reason}{suffix}')
        self.status = head.status
        self.url = head.url
        from filestead.cli.client.formats import json_text  # noqa: PLC0415 - needed only for errors

        self.error = json_text.member_text(body.decode("utf-8", "surrogateescape"), "error")


def client_config(args: ParsedArgs) -> Config:
    """The configuration of the client. An empty --base-url counts as unset, as in the official client."""
    try:
        config = configure(
            api_key=args.get("api-key"),
            base_url=args.get("base-url") or None,
            organization=args.get("organization"),
            project=args.get("project"),
        )
    except ConfigurationError as error:
        raise UsageError(str(error).replace("base_url", "--base-url", 1)) from None
    return replace(config, user_agent=f"filestead-cli/{__version__}")


def open_session(args: ParsedArgs) -> contextlib.closing[Session]:
    """Open a session with the server that the flags and the environment name; `with` closes it."""
    config = client_config(args)
    session = Session(
        config,
        transport=_mutual_tls_transport(args, config),
        on_exchange=_print_exchange if args.get("debug") else None,
    )
    return contextlib.closing(session)


def send_request(session: Session, request: Request, *, any_type: bool = False) -> str:
    """Send a request and return the text of a JSON response, or of `any_type`, else "". Raises `StatusError`.

    As by the official client, a request whose response is cut off is not sent again.
    """
    with contextlib.closing(session.send(request, stream=True)) as response:
        data = response.read()
        if response.head.status >= 400:
            raise StatusError(request.method, response.head, data)
        return data.decode("utf-8", "surrogateescape") if any_type or is_json(response.head) else ""


def is_json(head: ResponseHead) -> bool:
    """Whether the content type of the response is JSON."""
    return bool(re.match(r"application/([\w.-]+\+)?json\b", head.headers.get("content-type", "")))


def _mutual_tls_transport(args: ParsedArgs, config: Config) -> "httpx2.BaseTransport | None":
    certificate = args.get("mtls-client-cert-file") or os.environ.get("OPENAI_MTLS_CLIENT_CERT_FILE")
    key = args.get("mtls-client-key-file") or os.environ.get("OPENAI_MTLS_CLIENT_KEY_FILE")
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise UsageError("a client certificate requires both --mtls-client-cert-file and --mtls-client-key-file")
    if not config.base_url.startswith("https://"):
        raise UsageError(f"a client certificate requires an https base URL, but --base-url is {config.base_url}")
    import httpx2  # noqa: PLC0415 - slow to load

    context = httpx2.create_ssl_context()
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise CommandError(f"cannot load the client certificate: {error}") from None
    return httpx2.HTTPTransport(verify=context)


def _print_exchange(request: RequestHead, response: ResponseHead | None) -> None:
    """Print the heads of a request and its response for --debug, with secrets masked."""
    print(f"{datetime.now():%Y/%m/%d %H:%M:%S} {request.method} {request.url}", file=sys.stderr)  # noqa: DTZ005
    for name, value in sorted(request.headers):
        print(f"  {name}: {_mask_secret(name, value)}", file=sys.stderr)
    if response is None:
        print("no response", file=sys.stderr)
        return
    print(f"{datetime.now():%Y/%m/%d %H:%M:%S} {response.status} {response.reason}", file=sys.stderr)  # noqa: DTZ005
    for name, value in sorted(response.headers.items()):
        print(f"  {name}: {_MASK if name.lower() == 'location' else _mask_secret(name, value)}", file=sys.stderr)


def _mask_secret(name: str, value: str) -> str:
    if name.lower() == "authorization":
        return f"{value.partition(' ')[0]} {_MASK}"
    return _MASK if name.lower() in _SECRETS else value
