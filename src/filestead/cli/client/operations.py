"""Steps shared by the commands of every resource: resolve arguments, build forms, print an object or a list."""

from collections.abc import Iterator
from typing import Any

from filestead.cli.client.connection import open_session, send_request
from filestead.cli.client.formats import json_text
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.grammar.parser import assign_positionals, require_flags
from filestead.cli.client.grammar.scalars import format_scalar
from filestead.cli.client.grammar.values import expand_file_reference, read_piped_body, referenced_path
from filestead.cli.client.output import Output, parse_page
from filestead.cli.errors import CommandError, UsageError
from filestead.cli.terminal.escaping import escape_line
from filestead.client._transport.requests import Request
from filestead.client._transport.session import Session
from filestead.client._upload.multipart import FilePart, Form, TextField
from filestead.client._upload.sources import open_source


def resolve_args(command: Command, args: ParsedArgs) -> None:
    """Set the flags that were not given, from positionals and then from a piped body. Raises `UsageError`."""
    assign_positionals(command, args)
    body = read_piped_body()
    for flag in command.flags if isinstance(body, dict) else ():
        if flag.location in {"path", "query"} and flag.name not in args.values and flag.wire_name in body:
            args.values[flag.name] = format_scalar(body[flag.wire_name])
    require_flags(command, args)
    if args.get("file-id") == "":
        raise UsageError("--file-id must not be empty; pass the ID of a file, such as file-abc123")


def request_values(command: Command, args: ParsedArgs, location: str) -> dict[str, Any]:
    """The values for one part of the request by their wire names; a mapping flag without members is left out."""
    named = ((flag.wire_name, args.get(flag.name)) for flag in command.flags if flag.location == location)
    return {name: value for name, value in named if value is not None}


def form_fields(name: str, value: Any) -> Form:
    """A member as form fields: `name[member]` and `name[]`; empty mappings and lists are not sent."""
    if isinstance(value, dict):
        return tuple(field for key in sorted(value) for field in form_fields(f"{name}[{key}]", value[key]))
    if isinstance(value, list):
        return tuple(field for item in value for field in form_fields(f"{name}[]", item))
    if isinstance(value, str) and (path := referenced_path(value)) and not value.startswith(("@data://", "@file://")):
        return (FilePart(name, open_source(path)),)
    return (TextField(name, _expand(value)),)


def print_object(args: ParsedArgs, title: str, request: Request) -> None:
    """Send a request and print the object of its response."""
    with open_session(args) as session:
        text = send_request(session, request)
    Output(args, title).print_result(text)


def print_list(command: Command, args: ParsedArgs, title: str, path: str) -> None:
    """Print the objects of a list, page after page; `--format raw` prints the first page as it is."""
    resolve_args(command, args)
    query = {name: _expand(value) for name, value in request_values(command, args, "query").items()}
    output = Output(args, title)
    with open_session(args) as session:
        if output.prints_raw_pages:
            output.print_result(send_request(session, _list_request(path, query)))
        else:
            output.print_results(_list_items(session, path, query, args.get("max-items", -1)))


def _expand(value: Any) -> str:
    return expand_file_reference(value) if isinstance(value, str) else format_scalar(value)


def _list_request(path: str, query: dict[str, str]) -> Request:
    return Request("GET", path, tuple(sorted(query.items())))


def _list_items(session: Session, path: str, query: dict[str, str], max_items: int) -> Iterator[str]:
    """The items of all pages, at most `max_items` unless negative; a page is fetched when its first item is needed."""
    seen = {query.get("after")}
    remaining = max_items
    while True:
        text = send_request(session, _list_request(path, query))
        if not text:
            raise CommandError("the response is not JSON; check that --base-url (OPENAI_BASE_URL) ends in /v1")
        items, has_more = parse_page(text)
        for item in items:
            if remaining == 0:
                return
            remaining -= 1
            yield json_text.format_compact(item)
        if not has_more or remaining == 0:
            return
        members = dict(json_text.members(items[-1])) if items[-1].keys else {}
        last_id = next((item.text for name, item in members.items() if json_text.unquote(name) == "id"), "")
        if last_id in seen:
            raise CommandError(
                f'the list does not end: the server returned the page after "{escape_line(last_id)}" twice'
            )
        seen.add(last_id)
        query = {**query, "after": last_id}
