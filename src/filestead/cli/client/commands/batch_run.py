"""`filestead batches run` and `batches wait`: from a file to its results, with any server that has batches."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from filestead.cli.client.commands.batch_check import check_file, describe, faults, first_url
from filestead.cli.client.commands.batch_progress import batch_progress
from filestead.cli.client.commands.batch_requests import BatchView, fetch, path_of, require_success, wait_for_end
from filestead.cli.client.commands.batch_results import Kind, save_results
from filestead.cli.client.commands.file_content import STDOUT_PATHS, require_writable
from filestead.cli.client.connection import StatusError, open_session, send_request
from filestead.cli.client.file_parts import require_valid_filename
from filestead.cli.client.formats import json_text
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.grammar.parser import assign_positionals, require_flags
from filestead.cli.client.operations import resolve_args
from filestead.cli.client.output import Output
from filestead.cli.client.request_bodies import json_body
from filestead.cli.errors import CommandError
from filestead.cli.terminal.escaping import escape_line
from filestead.cli.terminal.progress import progress_bar
from filestead.client._transport.requests import Request, create_file
from filestead.client._transport.session import Session
from filestead.client._upload.sources import open_source

_REPORTED = 20
Targets = dict[Kind, str]


def run(command: Command, args: ParsedArgs) -> None:
    """Check a file, upload it, create a batch, wait for its end, and save both files of results."""
    assign_positionals(command, args)
    require_flags(command, args)
    path: str = args.get("file")
    targets = _targets(args, path)
    endpoint = args.get("endpoint") or first_url(path)
    if not args.get("no-check"):
        _require_no_faults(path, endpoint)
    with open_session(args) as session:
        batch = _create(session, args, _upload(session, args, path), endpoint)
        if args.get("detach"):
            Output(args, command.title).print_result(batch.text)
            return
        batch = _wait_or_cancel(session, args, batch.id)
        for kind, target in targets.items():
            if kind.file_id(batch) is not None:
                save_results(session, batch, kind, target)
    if not STDOUT_PATHS.intersection(targets.values()):
        Output(args, command.title).print_result(batch.text)
    require_success(batch)


def wait(command: Command, args: ParsedArgs) -> None:
    """Wait for the end of a batch and print it."""
    resolve_args(command, args)
    with open_session(args) as session:
        batch = _wait(session, args, args.get("batch-id"))
    Output(args, command.title).print_result(batch.text)
    require_success(batch)


def _targets(args: ParsedArgs, path: str) -> Targets:
    """Where the results go. A file that was not named must not exist yet; found out now, not after hours."""
    stem = path.removesuffix(".jsonl")
    targets: Targets = {}
    for kind, flag, default in ((Kind.OUTPUT, "output", "_output"), (Kind.ERROR, "errors", "_error")):
        target = args.get(flag) or f"{stem}{default}.jsonl"
        if flag not in args.values and Path(target).exists():
            raise CommandError(f"{target} exists already; remove it, or name a file with --{flag}")
        if target not in STDOUT_PATHS:
            require_writable(target, f"--{flag}")
        targets[kind] = target
    return targets


def _require_no_faults(path: str, endpoint: str) -> None:
    result = check_file(path, endpoint)
    if not result.errors:
        return
    for error in result.errors[:_REPORTED]:
        print(describe(path, error), file=sys.stderr)
    more = f"; the first {_REPORTED} are listed" if len(result.errors) > _REPORTED else ""
    raise CommandError(f"{faults(path, result)}{more}. Nothing was sent; --no-check leaves the check to the server")


def _upload(session: Session, args: ParsedArgs, path: str) -> str:
    source = open_source(path)
    require_valid_filename(source.filename)
    with progress_bar(path, enabled=not args.get("no-progress")) as report:
        text = send_request(session, create_file(source, "batch", on_progress=report))
    file = json_text.parse(text)
    members = json_text.members(file) if file is not None and file.keys else ()
    file_id = next((value.text for key, value in members if json_text.unquote(key) == "id"), "")
    if not file_id:
        raise CommandError("the response is not a file; check that --base-url (OPENAI_BASE_URL) ends in /v1")
    return file_id


def _create(session: Session, args: ParsedArgs, file_id: str, endpoint: str) -> BatchView:
    members: dict[str, Any] = {
        "completion_window": args.get("completion-window") or "24h",
        "endpoint": endpoint,
        "input_file_id": file_id,
    }
    if args.get("metadata") is not None:
        members["metadata"] = args.get("metadata")
    # The key makes a retry safe after an attempt that created the batch and whose response was lost.
    headers = (("Idempotency-Key", os.urandom(16).hex()),)
    return fetch(session, Request("POST", "/batches", headers=headers, body=json_body(members)))


def _wait(session: Session, args: ParsedArgs, batch_id: str) -> BatchView:
    with batch_progress(enabled=not args.get("no-progress")) as report:
        return wait_for_end(session, batch_id, report)


def _wait_or_cancel(session: Session, args: ParsedArgs, batch_id: str) -> BatchView:
    """Wait; after Ctrl-C, cancel the batch if the user says so, and wait for that."""
    try:
        return _wait(session, args, batch_id)
    except KeyboardInterrupt:
        if not _wants_to_cancel(batch_id):
            raise
    try:
        with contextlib.suppress(StatusError):  # It may have ended meanwhile; the wait tells.
            fetch(session, Request("POST", path_of(batch_id, "/cancel")))
        return _wait(session, args, batch_id)
    except KeyboardInterrupt:
        _say_that_it_goes_on(batch_id)
        raise


def _wants_to_cancel(batch_id: str) -> bool:
    reply = ""
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"\nCancel {escape_line(batch_id)}? Otherwise it goes on. [y/N] ", end="", file=sys.stderr, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            reply = sys.stdin.readline()
    if reply.strip().lower() in {"y", "yes"}:
        return True
    _say_that_it_goes_on(batch_id)
    return False


def _say_that_it_goes_on(batch_id: str) -> None:
    name = escape_line(batch_id)
    text = f"{name} goes on. Wait for it with `filestead batches wait {name}`, or cancel it with `batches cancel`."
    print(text, file=sys.stderr)
