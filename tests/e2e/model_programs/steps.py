"""What a driver says: one JSON line for the upload and one for the answer of the model."""

import json
import os
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(sys.argv[1])
"""The document to upload and to ask about."""
BASE_URL = os.environ["OPENAI_BASE_URL"]
API_KEY = os.environ["OPENAI_API_KEY"]
QUESTION = "What is it?"


def say(operation: str, **seen: Any) -> None:
    print(json.dumps({"operation": operation, **seen}), flush=True)


def upload(client: Any) -> str:
    """Upload with a client that has the shape of the official one."""
    with SOURCE.open("rb") as file:
        made = client.files.create(file=file, purpose="user_data")
    say("upload", id=made.id)
    return str(made.id)
