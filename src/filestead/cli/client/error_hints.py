"""The line below an error that says what to do: from what went wrong, to the remedy. Empty where there is none to know.

The error itself stays as it is; programs may read it, and the official command line prints the like.
"""

import os
import sys
from urllib.parse import urlsplit

from filestead.cli.client.connection import StatusError
from filestead.cli.client.grammar.model import ParsedArgs
from filestead.client.errors import APIConnectionError

HOSTED = ("openai.com", "openai.azure.com")
TLS_ALERT = ("\\x15\\x03", "\x15\x03")
"""How a server that speaks TLS begins its answer to a plain request."""
NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING", "HTTP_REQUEST")
UNKNOWN_HOST = ("Name or service not known", "nodename nor servname", "name resolution", "No address associated")


def print_hint(hint: str) -> None:
    """Print a hint, if there is one."""
    if hint:
        print(hint, file=sys.stderr)


def for_connection(error: APIConnectionError) -> str:
    """No answer, or none in HTTP."""
    text, causes = str(error), _cause_chain(error)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        start = f"Is the server running? Start it with `{_program_name()} serve`"
        return f"{start}, or set OPENAI_BASE_URL (or --base-url) to its address."
    if any(word in text for word in UNKNOWN_HOST):
        return "Is the host in OPENAI_BASE_URL (or --base-url) spelled correctly?"
    return _tls_hint(text) if " https://" in text else _plain_http_hint(text, causes)


def _tls_hint(text: str) -> str:
    if any(word in text for word in NOT_TLS):
        return "The server does not speak TLS on this port: does its address begin with http:// ?"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "SSL_CERT_FILE can name a file with the certificate of the authority that signed the server's."
    return ""


def _plain_http_hint(text: str, causes: list[BaseException]) -> str:
    if any(alert in repr(cause) for cause in causes for alert in TLS_ALERT):
        return "The server speaks TLS on this port: its address begins with https://"
    if "disconnected without" in text or any(isinstance(cause, ConnectionResetError) for cause in causes):
        return "If the server speaks TLS on this port, its address begins with https://"
    return ""


def for_status(refused: StatusError, args: ParsedArgs) -> str:
    """An error status."""
    if refused.status != 401:
        return ""
    given = args.get("api-key") if args.get("api-key") is not None else os.environ.get("OPENAI_API_KEY")
    start = "The server does not take this key." if given else "No key was sent: set OPENAI_API_KEY."
    host = urlsplit(refused.url).hostname or ""
    if any(host == name or host.endswith(f".{name}") for name in HOSTED):
        return f"{start} Or did you mean another server? OPENAI_BASE_URL names it."
    return f"{start} On the server's machine, `{_program_name()} keys create --project default` makes a new one."


def for_file(error: OSError, args: ParsedArgs) -> str:
    """A file that cannot be read."""
    named = args.get("file")
    if not isinstance(named, str) or error.filename != named:
        return ""
    if isinstance(error, IsADirectoryError):
        return (
            "A folder is no file. Upload what is in it one by one, or packed: "
            "tar cz FOLDER | filestead files create --file - --filename folder.tar.gz --purpose user_data"
        )
    if isinstance(error, FileNotFoundError) and set(named) & set("*?["):
        return "No file matches this pattern; the shell hands on as it stands what matches nothing."
    return ""


def _cause_chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _program_name() -> str:
    from filestead.server.program import program  # noqa: PLC0415 - loaded where it is needed

    return program()
