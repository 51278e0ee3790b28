"""`filestead files create`: upload a file, with the request and output of the official command."""

import difflib
import re
from functools import partial

from filestead.cli.client.catalog.files import LIST_PURPOSES
from filestead.cli.client.connection import open_session, send_request
from filestead.cli.client.file_parts import file_part
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.operations import resolve_args
from filestead.cli.client.output import Output
from filestead.cli.client.request_bodies import form_body
from filestead.cli.errors import UsageError
from filestead.cli.terminal.progress import progress_bar
from filestead.client._transport.requests import Request
from filestead.client._upload.multipart import FilePart

_SEPARATORS = re.compile(r"[-_\s]+")


def create(command: Command, args: ParsedArgs) -> None:
    """Upload a file. Fields are sent in alphabetical order, as by the official client."""
    members = resolve_args(command, args)
    if not args.get("any-purpose"):
        reject_misspelled_purpose(members.get("purpose"))
    file = str(members.get("file"))
    with open_session(args) as session, progress_bar(file, enabled=not args.get("no-progress")) as report:
        open_part = partial(
            file_part,
            filename=args.get("filename"),
            rename="set another name with --filename NAME",
            on_progress=report,
        )
        form = form_body(members, {"file"}, open_part)
        retryable = not any(isinstance(part, FilePart) for part in form)
        text = send_request(session, Request("POST", "/files", body=form, retryable=retryable))
    Output(args, command.title).print_result(text)


def reject_misspelled_purpose(purpose: object) -> None:
    """Raise `UsageError` for a purpose similar to a known one. Others pass, as other servers may accept them."""
    if not isinstance(purpose, str) or purpose in LIST_PURPOSES or not purpose or purpose[0] in "@\\":
        return
    normalized = _SEPARATORS.sub("", purpose.lower())
    similar = [known for known in LIST_PURPOSES if _SEPARATORS.sub("", known) in (normalized, f"{normalized}s")]
    similar = similar or difflib.get_close_matches(purpose.lower(), LIST_PURPOSES, n=1, cutoff=0.8)
    if similar:
        raise UsageError(
            f"unknown purpose {purpose}; did you mean {similar[0]}? Nothing was sent. To send the purpose anyway, "
            "add --any-purpose"
        )
