"""`filestead files create`: upload a file, with the request and output of the official command."""

import difflib
import os
import re

from filestead.cli.client.catalog.files import LIST_PURPOSES
from filestead.cli.client.connection import open_session, send_request
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.grammar.parser import assign_positionals, require_flags
from filestead.cli.client.grammar.values import read_piped_body
from filestead.cli.client.operations import request_values
from filestead.cli.client.output import Output
from filestead.cli.client.request_bodies import form_fields
from filestead.cli.errors import CommandError, UsageError
from filestead.cli.terminal.progress import progress_bar
from filestead.client._transport.requests import Request
from filestead.client._upload.multipart import FilePart, TextField
from filestead.client._upload.sources import BLOCK_BYTES, Source, open_source

STDIN_PATHS = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_SEPARATORS = re.compile(r"[-_\s]+")
_INVALID_IN_HEADER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Invalid in the header of a part. Tab, CR and LF are encoded as the official client encodes them."""
STDIN_FILENAME = "anonymous_file"
"""The file name that the official client sends for standard input."""


def create(command: Command, args: ParsedArgs) -> None:
    """Upload a file. Fields are sent in alphabetical order, as by the official client."""
    assign_positionals(command, args)
    flag_values = {name: value for name, value in request_values(command, args, "body").items() if value is not None}
    body = {} if flag_values.get("file") in STDIN_PATHS else read_piped_body()
    require_flags(command, args, given=body if isinstance(body, dict) else ())
    if not isinstance(body, dict):
        raise UsageError("standard input is not a mapping of request members; to upload it as a file, use --file -")
    members = {**body, **flag_values}
    file = members.get("file")
    if not args.get("any-purpose"):
        reject_misspelled_purpose(members.get("purpose"))
    if body and file in STDIN_PATHS:
        raise UsageError("standard input cannot hold both the request members and the file; name the file with --file")
    with open_session(args) as session, progress_bar(str(file), enabled=not args.get("no-progress")) as report:
        form: list[TextField | FilePart] = []
        for name in sorted(members):
            if name == "file" and isinstance(file, str) and file:
                source = _open_source(file)
                require_valid_filename(args.get("filename", source.filename))
                form.append(FilePart("file", source, args.get("filename"), on_progress=report))
            else:
                form.extend(form_fields(name, members[name]))
        text = send_request(session, Request("POST", "/files", body=tuple(form), retryable=False))
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


def require_valid_filename(filename: str) -> None:
    """Raise `CommandError` for a name that a form cannot carry, or that servers would discard."""
    reason = ""
    try:
        filename.encode()
    except UnicodeEncodeError:
        reason = "is not valid UTF-8"
    if filename.endswith("\\"):
        reason = "ends with a backslash, which servers treat as a path separator"
    elif not reason and _INVALID_IN_HEADER.search(filename):
        reason = "contains control characters"
    if reason:
        raise CommandError(f"the file name {filename!a} {reason}; set another name with --filename NAME")


def _open_source(path: str) -> Source:
    if path not in STDIN_PATHS:
        return open_source(path)
    return Source(STDIN_FILENAME, None, False, lambda: iter(lambda: os.read(0, BLOCK_BYTES), b""))
