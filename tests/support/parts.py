"""Uploads in parts over HTTP."""

from collections.abc import Sequence
from typing import Any

import httpx2

from tests.support.attempts import attempt


def create_upload(client: httpx2.Client, size: int, *, name: str = "a.bin", **members: Any) -> Any:
    """Create an upload and return it; fails unless the answer is 200."""
    body = {"filename": name, "purpose": "user_data", "bytes": size, "mime_type": "text/plain"} | members
    response = client.post("/uploads", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def send_part(
    client: httpx2.Client, upload_id: str, content: bytes, *, retries: int = 0, key: str | None = None
) -> httpx2.Response:
    """Send a part as the official clients do, or with an idempotency key."""
    headers = attempt(retries)
    if key is not None:
        headers["Idempotency-Key"] = key
    return client.post(f"/uploads/{upload_id}/parts", files={"data": ("upload", content)}, headers=headers)


def add_part(client: httpx2.Client, upload_id: str, content: bytes) -> str:
    """Send a part and return its id; fails unless the answer is 200."""
    response = send_part(client, upload_id, content)
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def send_complete(client: httpx2.Client, upload_id: str, part_ids: Sequence[str], **members: Any) -> httpx2.Response:
    return client.post(f"/uploads/{upload_id}/complete", json={"part_ids": list(part_ids)} | members)


def upload_in_parts(client: httpx2.Client, *contents: bytes, **members: Any) -> Any:
    """A whole upload; returns the completed upload object."""
    upload = create_upload(client, sum(map(len, contents)), **members)
    response = send_complete(client, upload["id"], [add_part(client, upload["id"], content) for content in contents])
    assert response.status_code == 200, response.text
    return response.json()
