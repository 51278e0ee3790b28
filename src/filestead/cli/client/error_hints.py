"""Hints: a second line below an error that names a probable remedy. An empty text means that there is none.

The error line itself is not changed: programs may parse it, and the official command line prints a similar one.
"""

import os
import sys
from urllib.parse import urlsplit

from filestead.cli.client.connection import StatusError
from filestead.cli.client.grammar.model import ParsedArgs
from filestead.client.errors import APIConnectionError

HOSTED = ("openai.com", "openai.azure.com")
TLS_ALERT = ("\\x15\\x03", "\x15\x03")
"""The first bytes of a TLS server's response to a plain HTTP request."""
NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING", "HTTP_REQUEST")
UNKNOWN_HOST = ("Name or service not known", "nodename nor servname", "name resolution", "No address associated")


def print_hint(hint: str) -> None:
    """Print a hint to standard error, unless it is empty."""
    if hint:
        print(hint, file=sys.stderr)


def for_connection(error: APIConnectionError) -> str:
    """The hint for a failed connection or a response that is not HTTP."""
    text, causes = str(error), _cause_chain(error)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        start = f"Is the server running? Start it with `{_program_name()} serve`"
        return f"{start}, or set OPENAI_BASE_URL (or --base-url) to its address."
    if any(word in text for word in UNKNOWN_HOST):
        return "Is the host in OPENAI_BASE_URL (or --base-url) spelled correctly?"
    return _tls_hint(text) if " https://" in text else _plain_http_hint(text, causes)


def _tls_hint(text: str) -> str:
    if any(word in text for word in NOT_TLS):
        return "The server does not use TLS on this port; try a base URL that begins with http://."
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "To trust a private certificate authority, set SSL_CERT_FILE to the file with its certificate."
    return ""


def _plain_http_hint(text: str, causes: list[BaseException]) -> str:
    if any(alert in repr(cause) for cause in causes for alert in TLS_ALERT):
        return "The server uses TLS on this port; use a base URL that begins with https://."
    if "disconnected without" in text or any(isinstance(cause, ConnectionResetError) for cause in causes):
        return "If the server uses TLS on this port, use a base URL that begins with https://."
    return ""


def for_status(error: StatusError, args: ParsedArgs) -> str:
    """The hint for an error status."""
    if error.status != 401:
        return ""
    api_key = args.get("api-key") if args.get("api-key") is not None else os.environ.get("OPENAI_API_KEY")
    start = "The server rejected this API key." if api_key else "No API key was sent; set OPENAI_API_KEY."
    host = urlsplit(error.url).hostname or ""
    if any(host == name or host.endswith(f".{name}") for name in HOSTED):
        return f"{start} To use another server, set OPENAI_BASE_URL."
    return f"{start} To create a key, run `{_program_name()} keys create --project default` on the server's machine."


def for_file(error: OSError, args: ParsedArgs) -> str:
    """The hint for a file that cannot be read."""
    path = args.get("file")
    if not isinstance(path, str) or error.filename != path:
        return ""
    if isinstance(error, IsADirectoryError):
        return (
            "A directory cannot be uploaded. Upload its files one by one, or as an archive: "
            "tar cz DIRECTORY | filestead files create --file - --filename directory.tar.gz --purpose user_data"
        )
    if isinstance(error, FileNotFoundError) and set(path) & set("*?["):
        return "No file matches this pattern; the shell passes an unmatched pattern on unchanged."
    return ""


def _cause_chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _program_name() -> str:
    from filestead.server.program import program  # noqa: PLC0415 - needed only here

    return program()
