"""Runs a command by its entry in the table: resolves arguments, builds the request, prints an object or a list."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from filestead.cli.client.connection import open_session, send_request
from filestead.cli.client.formats import json_text
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.grammar.parser import assign_positionals, require_flags
from filestead.cli.client.grammar.values import read_piped_body
from filestead.cli.client.output import Output, parse_page
from filestead.cli.client.piped_members import merge_members, set_parameters
from filestead.cli.client.request_bodies import form_body, json_body, query_parameter, stdin_uses
from filestead.cli.errors import CommandError, UsageError
from filestead.cli.terminal.escaping import escape_line
from filestead.client._transport.requests import Request, escape_path_segment
from filestead.client._transport.session import Session
from filestead.client._upload.multipart import FilePart, Form


def run(command: Command, args: ParsedArgs) -> None:
    """Send the request of a command with an endpoint and print its results; `--format raw` prints the response."""
    assert command.endpoint is not None, "a command without an endpoint has a handler"
    request = build_request(command, args, resolve_args(command, args))
    response = command.endpoint.response
    output = Output(args, command.title)
    with open_session(args) as session:
        if response == "object" or output.prints_raw_pages:
            output.print_result(send_request(session, request, any_type=True))
        else:
            items = _items(session, request, args.get("max-items", -1), all_pages=response == "pages")
            output.print_results(items)


def resolve_args(command: Command, args: ParsedArgs) -> dict[str, Any]:
    """Set the flags that were not given, from positionals and then from piped members. Return the members of the body.

    Standard input has no members if a flag refers to it (`--file -`, `--name @-`). Raises `UsageError` if it is used
    twice, if a required flag is neither set nor among the members, or if a member is not of the type of its flag.
    """
    assign_positionals(command, args)
    files = {flag.wire_name for flag in command.files}
    members = {} if stdin_uses(request_values(command, args, "body", "query"), files) else read_piped_body()
    if not isinstance(members, dict):
        if command.has_body:
            remedy = f"; to upload it as a file, use --{command.files[0].name} -" if command.files else ""
            example = remedy or ", such as {name: value}"
            raise UsageError(f"standard input is not a mapping of request members{example}")
        members = {}
    piped = bool(members)
    set_parameters(command, args, members)
    require_flags(command, args, given=members)
    for flag in command.flags:
        if flag.location == "path" and args.get(flag.name) == "":
            raise UsageError(f"--{flag.name} must not be empty; pass the ID of an object")
    members = merge_members(command, request_values(command, args, "body"), members)
    uses = stdin_uses({**request_values(command, args, "query"), **members}, files)
    if piped and uses:
        raise UsageError("standard input cannot hold both the request members and the file; give the path of the file")
    if uses > 1:
        raise UsageError("standard input can be read once only; give the path of a file for the other value")
    return members


def request_values(command: Command, args: ParsedArgs, *locations: str) -> dict[str, Any]:
    """The values of the flags that are set for some parts of the request, by their wire names."""
    flags = [flag for flag in command.flags if flag.location in locations and flag.name in args.values]
    return {flag.wire_name: args.values[flag.name] for flag in flags}


def build_request(command: Command, args: ParsedArgs, members: dict[str, Any]) -> Request:
    """The request of a command with an endpoint, with the `members` as its body.

    A form with a file is sent once: as by the official client, it is not retried.
    """
    endpoint = command.endpoint
    assert endpoint is not None
    segments = {name: escape_path_segment(text) for name, text in request_values(command, args, "path").items()}
    body = _body(command, members)
    query = {name: query_parameter(value) for name, value in request_values(command, args, "query").items()}
    return Request(
        endpoint.method,
        endpoint.path.format(**segments),
        tuple(sorted(query.items())),
        endpoint.headers,
        body,
        retryable=not isinstance(body, tuple) or not any(isinstance(part, FilePart) for part in body),
    )


def _body(command: Command, members: dict[str, Any]) -> bytes | Form | None:
    if not command.has_body:
        return None
    if command.endpoint is not None and command.endpoint.body == "form":
        return form_body(members, {flag.wire_name for flag in command.files})
    return json_body(members)


def _items(session: Session, request: Request, max_items: int, *, all_pages: bool) -> Iterator[str]:
    """The items of a list, at most `max_items` unless negative; a page is fetched when its first item is needed."""
    seen = {dict(request.query).get("after")}
    remaining = max_items
    while True:
        text = send_request(session, request)
        if not text:
            raise CommandError("the response is not JSON; check that --base-url (OPENAI_BASE_URL) ends in /v1")
        items, has_more = parse_page(text)
        for item in items:
            if remaining == 0:
                return
            remaining -= 1
            yield json_text.format_compact(item)
        if not all_pages or not has_more or remaining == 0:
            return
        last_id = _id_of(items[-1])
        if last_id in seen:
            raise CommandError(
                f'the list does not end: the server returned the page after "{escape_line(last_id)}" twice'
            )
        seen.add(last_id)
        request = replace(request, query=tuple(sorted({**dict(request.query), "after": last_id}.items())))


def _id_of(item: json_text.Value) -> str:
    members = dict(json_text.members(item)) if item.keys else {}
    return next((value.text for name, value in members.items() if json_text.unquote(name) == "id"), "")
