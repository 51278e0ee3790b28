"""Ids that the server lists, for completion: `filestead files retrieve <TAB>`."""

import contextlib
import re
from dataclasses import replace

from filestead.cli.client import connection, output
from filestead.cli.client.formats.json_text import members, unquote
from filestead.cli.client.grammar.model import Command, Flag, ParsedArgs
from filestead.cli.errors import CommandError, UsageError
from filestead.cli.terminal.escaping import escape_line
from filestead.client._transport.requests import Request, escape_path_segment
from filestead.client._transport.session import Session
from filestead.client.errors import FilesteadError

TIMEOUT_SECONDS = 1.0
"""For a connection, and for the response: the shell waits meanwhile."""
LIMIT = 100
"""Only so many of the newest objects are offered."""
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]+")
"""bash expands candidates: an ID of a hostile server must not contain anything that it would run."""
_LISTS = {"file-id": "/files", "vector-store-id": "/vector_stores", "batch-id": "/batches"}
_BETA = (("OpenAI-Beta", "assistants=v2"),)


def list_path(command: Command, flag: Flag, args: ParsedArgs) -> str | None:
    """The path of the list with the objects that a flag may name; None if there is none."""
    name = re.sub(r".*[.-](?=file-id$)", "", flag.name)
    if name == "batch-id" and command.group != "batches":
        return None  # File batches have no list.
    store_id = args.get("vector-store-id")
    if flag.location == "path" and name == "file-id" and command.group == "vector-stores:files":
        return f"/vector_stores/{escape_path_segment(store_id)}/files" if store_id else None
    return _LISTS.get(name)


def find_ids(path: str, args: ParsedArgs) -> list[tuple[str, str]]:
    """The newest ids of a list, each with the name or the status of its object; empty if the server has no response."""
    request = Request("GET", path, (("limit", str(LIMIT)),), _BETA if path.startswith("/vector_stores") else ())
    try:
        config = replace(connection.client_config(args), timeout=TIMEOUT_SECONDS, max_retries=0)
        with contextlib.closing(Session(config)) as session:
            items, _ = output.parse_page(connection.send_request(session, request))
    except (UsageError, CommandError, FilesteadError, connection.StatusError, OSError):
        return []
    objects = [{unquote(key): item.text for key, item in members(value) if key} for value in items]
    return [
        (found["id"], escape_line(found.get("filename") or found.get("name") or found.get("status", "")))
        for found in objects
        if _SAFE_ID.fullmatch(found.get("id", ""))
    ]
