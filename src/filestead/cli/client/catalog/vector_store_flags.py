"""Endpoints and flags shared by the commands for vector stores, their files and their file batches."""

from typing import Literal

from filestead.cli.client.grammar.model import Endpoint, Flag

FILE_STATUSES = ("in_progress", "completed", "failed", "cancelled")

STORE_ID = Flag("vector-store-id", "ID of the vector store; the flag name may be omitted",
                placeholder="VECTOR_STORE_ID", location="path", required=True)  # fmt: skip
FILE_ID = Flag("file-id", "ID of the file; the flag name may be omitted", placeholder="FILE_ID", location="path",
               required=True)  # fmt: skip
ATTRIBUTES = Flag("attributes", "Attributes that a search can filter by, as YAML or JSON: {author: ann, year: 2024}",
                  kind="mapping", placeholder="MAPPING", location="body")  # fmt: skip
CHUNKING_STRATEGY = Flag(
    "chunking-strategy",
    "How files are cut into chunks, as YAML or JSON: "
    "{type: static, static: {max_chunk_size_tokens: 800, chunk_overlap_tokens: 400}}",
    kind="mapping", placeholder="MAPPING", location="body",
)  # fmt: skip
STATUS_FILTER = Flag("filter", "List only files with this status", placeholder="STATUS", location="query",
                     suggestions=FILE_STATUSES)  # fmt: skip


def endpoint(
    method: Literal["GET", "POST", "DELETE"], path: str, response: Literal["object", "page", "pages"] = "object"
) -> Endpoint:
    """An endpoint below `/vector_stores`, with the header that the official client sends there."""
    return Endpoint(method, f"/vector_stores{path}", response, (("OpenAI-Beta", "assistants=v2"),))


def list_flags(noun: str) -> tuple[Flag, ...]:
    """The flags of a list; `noun` is the plural of its objects."""
    return (
        Flag("after", f"Start after the one of the {noun} with this ID", placeholder="ID", location="query"),
        Flag("before", f"End before the one of the {noun} with this ID", placeholder="ID", location="query"),
        Flag("limit", f"Number of {noun} per request, 1 to 100; all pages are fetched", kind="integer", placeholder="N",
             location="query"),
        Flag("order", "Sort order by creation time", placeholder="ORDER", location="query",
             suggestions=("asc", "desc")),
        max_items(noun),
    )  # fmt: skip


def max_items(noun: str) -> Flag:
    """The flag that limits how much is printed."""
    return Flag("max-items", f"Maximum number of {noun} to print; -1 prints all", kind="integer", placeholder="N")
