"""Clients of the official Python package, set up for tests."""

from typing import Any

import httpx2
from openai import DefaultHttpxClient, OpenAI

from tests.support.servers import Server, run_command

MIB = 2**20


def connect(server: Server, sent: list[httpx2.Request], **options: Any) -> OpenAI:
    """A client that notes what it sends and, unless told otherwise, has the server's key and does not retry."""
    hooks: dict[str, list[Any]] = {"request": [sent.append]}
    options = {"api_key": server.key, "max_retries": 0, **options}
    return OpenAI(base_url=server.base_url, http_client=DefaultHttpxClient(event_hooks=hooks), **options)


def new_project(server: Server, name: str, *arguments: str) -> str:
    """A key for a project of its own."""
    made = run_command(server.data_dir, "keys", "create", "--project", name, *arguments)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()
