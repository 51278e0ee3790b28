"""`filestead files create`: upload a file, with the request and output of the official command."""

import difflib
import re
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from filestead.cli.client.catalog.files import LIST_PURPOSES
from filestead.cli.client.connection import StatusError, open_session, send_request
from filestead.cli.client.file_parts import file_part
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.operations import resolve_args
from filestead.cli.client.output import Output, member_of
from filestead.cli.client.request_bodies import form_body
from filestead.cli.errors import UsageError
from filestead.cli.terminal.progress import progress_bar
from filestead.client._transport.requests import Request
from filestead.client._transport.session import Session
from filestead.client._upload.multipart import FilePart, Form, TextField
from filestead.client._upload.progress import SentMeter
from filestead.client._upload.sources import Source
from filestead.client.config import PART_BYTES, PARTS_ABOVE_BYTES, OnProgress
from filestead.client.errors import APIConnectionError

if TYPE_CHECKING:
    from filestead.client._parts.upload import NewFile

_MEMBERS_OF_PARTS = {"file", "purpose", "expires_after"}
_SEPARATORS = re.compile(r"[-_\s]+")


def create(command: Command, args: ParsedArgs) -> None:
    """Upload a file. Fields are sent in alphabetical order, as by the official client."""
    members = resolve_args(command, args)
    if not args.get("any-purpose"):
        reject_misspelled_purpose(members.get("purpose"))
    path = str(members.get("file"))
    with open_session(args) as session, progress_bar(path, enabled=not args.get("no-progress")) as report:
        meter = SentMeter(report)
        open_part = partial(
            file_part,
            filename=args.get("filename"),
            rename="set another name with --filename NAME",
            on_progress=meter,
        )
        form = form_body(members, {"file"}, open_part)
        file = None if args.get("no-parts") else _file_for_parts(members, form, report)
        if file is None or args.get("no-resume"):
            text = _send(session, form, file, meter)
        else:
            from filestead.cli.client.commands.upload_journals import journal_for  # noqa: PLC0415 - for large files

            with journal_for(session.config, file, path) as journal:
                text = _send(session, form, replace(file, journal=journal), meter)
    Output(args, command.title).print_result(text)


def _send(session: Session, form: Form, file: "NewFile | None", meter: SentMeter) -> str:
    """Send a form, or its file in parts: a large one, or one whose connection breaks before the server has all of it.

    A form with a file is sent once, as by the official client.
    """
    if file is not None and (file.size > PARTS_ABOVE_BYTES or file.continues):
        text = _send_in_parts(session, file)
        if text is not None:
            return text
    retryable = not any(isinstance(part, FilePart) for part in form)
    try:
        return send_request(session, Request("POST", "/files", body=form, retryable=retryable), any_type=True)
    except APIConnectionError:
        if file is None or meter.complete:
            raise
        text = _send_in_parts(session, file)
        if text is None:
            raise
        return text


def _send_in_parts(session: Session, file: "NewFile") -> str | None:
    """Return the file object; None if the server has no uploads in parts."""
    from filestead.client._parts.upload import upload_in_parts  # noqa: PLC0415 - needed only for large files

    response = upload_in_parts(session, file, make_error=partial(StatusError, "POST"))
    return None if response is None else member_of(response[1].decode("utf-8", "surrogateescape"), "file")


def _file_for_parts(members: dict[str, Any], form: Form, report: OnProgress | None) -> "NewFile | None":
    """The file of a form as an upload in parts; None for a small file, one without a size, and with other members."""
    fields = {part.name: part for part in form}
    part = fields.get("file")
    purpose = fields.get("purpose")
    if not isinstance(part, FilePart) or not isinstance(purpose, TextField) or members.keys() - _MEMBERS_OF_PARTS:
        return None
    source = part.source
    if not isinstance(source, Source) or not source.rewindable or (source.size or 0) <= PART_BYTES:
        return None
    from filestead.client._parts.upload import NewFile  # noqa: PLC0415 - needed only for large files

    expires_after = members.get("expires_after") or None
    return NewFile(source, purpose.value, expires_after, part.filename, report, on_continue=_print_continuation)


def _print_continuation(done: int, size: int | None) -> None:
    """Say on standard error that an upload is continued."""
    print(f"filestead: continuing an upload that was interrupted: {done} of {size} bytes are stored", file=sys.stderr)


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
