"""What a driver of a client program says: one JSON line for each operation that it has done, with what it got."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(sys.argv[1])
"""The file to upload: lines for the Batch API."""
BASE_URL = os.environ["OPENAI_BASE_URL"]
API_KEY = os.environ["OPENAI_API_KEY"]


def say(operation: str, **seen: Any) -> None:
    print(json.dumps({"operation": operation, **seen}), flush=True)


def say_content(content: bytes | str) -> None:
    data = content.encode() if isinstance(content, str) else content
    say("content", sha256=hashlib.sha256(data).hexdigest())


def five(client: Any) -> None:
    """All five with a client that has the shape of the official one."""
    with SOURCE.open("rb") as file:
        made = client.files.create(file=file, purpose="batch")
    say("upload", id=made.id)
    say("list", ids=[each.id for each in client.files.list().data])
    found = client.files.retrieve(made.id)
    say("retrieve", id=found.id, bytes=found.bytes, filename=found.filename)
    say_content(client.files.content(made.id).read())
    say("delete", deleted=client.files.delete(made.id).deleted)
