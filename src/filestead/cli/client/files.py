"""`filestead files create|list|retrieve|delete`: what the official commands send and print."""

import difflib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from filestead.cli.client import json_text
from filestead.cli.client.commands import LIST_PURPOSES
from filestead.cli.client.connection import call, connect
from filestead.cli.client.grammar import Command, UsageError, Words, fill_positionals, require
from filestead.cli.client.output import Failed, Output, items_of_page
from filestead.cli.client.progress import bar
from filestead.cli.client.terminal import visible_line
from filestead.cli.client.values import embedded, embedded_path, piped_body, shown
from filestead.client._transport import requests
from filestead.client._transport.requests import Request
from filestead.client._transport.session import Session
from filestead.client._upload.multipart import FilePart, Form, TextField
from filestead.client._upload.sources import BLOCK_BYTES, Source, open_source

STANDARD_INPUT = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_PUNCTUATION = re.compile(r"[-_\s]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Those that no part header may hold; tab, CR and LF are sent as the official client sends them."""
ANONYMOUS = "anonymous_file"
"""The name that the official client gives to standard input."""


def create(command: Command, said: Words) -> None:
    """Upload a file. Fields go in the order of the alphabet, as the official client sends them."""
    fill_positionals(command, said)
    given = _given(command, said, "body")
    body = {} if given.get("file") in STANDARD_INPUT else piped_body()
    require(command, said, also=body if isinstance(body, dict) else ())
    if not isinstance(body, dict):
        raise UsageError("what is piped in is no mapping of the request's members; a file is uploaded with --file -")
    members = {**body, **given}
    file = members.get("file")
    if not said.get("any-purpose"):
        refuse_misspelled(members.get("purpose"))
    if body and file in STANDARD_INPUT:
        raise UsageError("standard input cannot be both the request's members and the file; name the file with --file")
    with connect(said) as session, bar(str(file), wanted=not said.get("no-progress")) as report:
        form: list[TextField | FilePart] = []
        for name in sorted(members):
            if name == "file" and isinstance(file, str) and file:
                source = _source(file)
                require_sendable(said.get("filename", source.filename))
                form.append(FilePart("file", source, said.get("filename"), on_progress=report))
            else:
                form.extend(_fields(name, members[name]))
        text = call(session, Request("POST", "/files", body=tuple(form), retryable=False))
    Output(said, "files create").result(text)


def refuse_misspelled(purpose: object) -> None:
    """`UsageError` for a purpose that is nearly a known one. Others pass: other servers may know more of them."""
    if not isinstance(purpose, str) or purpose in LIST_PURPOSES or not purpose or purpose[0] in "@\\":
        return
    plain = _PUNCTUATION.sub("", purpose.lower())
    alike = [known for known in LIST_PURPOSES if _PUNCTUATION.sub("", known) in (plain, f"{plain}s")]
    alike = alike or difflib.get_close_matches(purpose.lower(), LIST_PURPOSES, n=1, cutoff=0.8)
    if alike:
        raise UsageError(
            f"the purpose {purpose} is probably {alike[0]} misspelled; nothing was sent. If the server knows this "
            "purpose, add --any-purpose"
        )


def require_sendable(filename: str) -> None:
    """`Failed` for a name that cannot travel in a form, or of which a server would keep nothing."""
    reason = ""
    try:
        filename.encode()
    except UnicodeEncodeError:
        reason = "is not UTF-8"
    if filename.endswith("\\"):
        reason = "ends in a backslash, behind which servers look for the name"
    elif not reason and _CONTROLS.search(filename):
        reason = "has control characters"
    if reason:
        raise Failed(f"the file name {filename!a} {reason}; give the file another name with --filename NAME")


def retrieve(command: Command, said: Words) -> None:
    """Show a file object."""
    _one(command, said, requests.retrieve_file)


def delete(command: Command, said: Words) -> None:
    """Delete a file."""
    _one(command, said, requests.delete_file)


def list_(command: Command, said: Words) -> None:
    """List files, page after page."""
    complete(command, said)
    given = _given(command, said, "query")
    query = {key: embedded(value) if isinstance(value, str) else shown(value) for key, value in given.items()}
    output = Output(said, "files list")
    with connect(said) as session:
        if output.prints_pages:
            output.result(call(session, _page(query)))
        else:
            output.results(_items(session, query, said.get("max-items", -1)))


def _given(command: Command, said: Words, where: str) -> dict[str, Any]:
    """The values that go there, by their names on the wire; an empty mapping flag goes nowhere."""
    named = ((flag.key, said.get(flag.name)) for flag in command.flags if flag.where == where)
    return {key: value for key, value in named if value is not None}


def _one(command: Command, said: Words, build: Callable[[str], Request]) -> None:
    complete(command, said)
    with connect(said) as session:
        text = call(session, build(said.get("file-id")))
    Output(said, f"files {command.name}").result(text)


def complete(command: Command, said: Words) -> None:
    """Fill what flags leave open: from positionals, then from a piped body."""
    fill_positionals(command, said)
    body = piped_body()
    for flag in command.flags if isinstance(body, dict) else ():
        if flag.where in {"path", "query"} and flag.name not in said.values and flag.key in body:
            said.values[flag.name] = shown(body[flag.key])
    require(command, said)
    if said.get("file-id") == "":
        raise UsageError("--file-id is empty; it is the id of a file, as in file-abc123")


def _page(query: dict[str, str]) -> Request:
    return Request("GET", "/files", tuple(sorted(query.items())))


def _items(session: Session, query: dict[str, str], most: int) -> Iterator[str]:
    """The items of all pages, at most so many unless negative; a page is fetched when its first item is needed."""
    seen = {query.get("after")}
    while True:
        text = call(session, _page(query))
        if not text:
            raise Failed("the answer is no JSON; does --base-url (OPENAI_BASE_URL) end in /v1?")
        items, more = items_of_page(text)
        for item in items:
            if most == 0:
                return
            most -= 1
            yield json_text.compact(item)
        if not more or most == 0:
            return
        names = dict(json_text.members(items[-1])) if items[-1].keys else {}
        last = next((item.text for name, item in names.items() if json_text.unquote(name) == "id"), "")
        if last in seen:
            raise Failed(f'the list does not end: the server gave the page after "{visible_line(last)}" twice')
        seen.add(last)
        query = {**query, "after": last}


def _fields(name: str, value: Any) -> Form:
    """A member as form fields: `name[member]` and `name[]`; empty mappings and lists are not sent."""
    if isinstance(value, dict):
        return tuple(field for key in sorted(value) for field in _fields(f"{name}[{key}]", value[key]))
    if isinstance(value, list):
        return tuple(field for item in value for field in _fields(f"{name}[]", item))
    if isinstance(value, str) and (path := embedded_path(value)) and not value.startswith(("@data://", "@file://")):
        return (FilePart(name, open_source(path)),)
    return (TextField(name, embedded(value) if isinstance(value, str) else shown(value)),)


def _source(path: str) -> Source:
    if path not in STANDARD_INPUT:
        return open_source(path)
    return Source(ANONYMOUS, None, False, lambda: iter(lambda: os.read(0, BLOCK_BYTES), b""))
