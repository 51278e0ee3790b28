"""The commands of `filestead vector-stores:files`."""

from dataclasses import replace

from filestead.cli.client.catalog.vector_store_flags import (
    ATTRIBUTES,
    CHUNKING_STRATEGY,
    FILE_ID,
    STATUS_FILTER,
    STORE_ID,
    endpoint,
    list_flags,
    max_items,
)
from filestead.cli.client.grammar.model import Command, Flag

_GROUP = "vector-stores:files"
_LIST_FLAGS = list_flags("files")

COMMANDS = (
    Command(
        _GROUP,
        "create",
        "Attach a file to a vector store",
        endpoint=endpoint("POST", "/{vector_store_id}/files"),
        flags=(
            STORE_ID,
            Flag("file-id", "ID of the file, which files create prints", placeholder="ID", location="body",
                 required=True),
            ATTRIBUTES,
            CHUNKING_STRATEGY,
        ),
        description="The file is indexed after the response: its status is in_progress until it is completed or "
        "failed; last_error then has the reason.",
        examples=(
            ("Attach a file with attributes", "filestead vector-stores:files create vs_abc123 --file-id file-abc123 "
             "--attributes '{author: ann, year: 2024}'"),
            ("Attach a file in small chunks", "filestead vector-stores:files create vs_abc123 --file-id file-abc123 "
             "--chunking-strategy '{type: static, static: {max_chunk_size_tokens: 200, chunk_overlap_tokens: 50}}'"),
        ),
    ),
    Command(
        _GROUP,
        "retrieve",
        "Show a file of a vector store",
        endpoint=endpoint("GET", "/{vector_store_id}/files/{file_id}"),
        flags=(STORE_ID, FILE_ID),
        examples=(
            ("Show why a file failed", "filestead vector-stores:files retrieve vs_abc123 file-abc123 "
             "--transform last_error"),
        ),
    ),
    Command(
        _GROUP,
        "update",
        "Replace the attributes of a file in a vector store",
        endpoint=endpoint("POST", "/{vector_store_id}/files/{file_id}"),
        flags=(STORE_ID, FILE_ID, replace(ATTRIBUTES, required=True)),
        examples=(
            ("Set an attribute and remove all others", "filestead vector-stores:files update vs_abc123 file-abc123 "
             "--attributes '{author: bob}'"),
        ),
    ),
    Command(
        _GROUP,
        "list",
        "List the files of a vector store, newest first",
        endpoint=endpoint("GET", "/{vector_store_id}/files", "pages"),
        flags=(STORE_ID, *_LIST_FLAGS[:2], STATUS_FILTER, *_LIST_FLAGS[2:]),
        description="Prints one file after another and fetches all pages; --format raw prints the first page "
        "unchanged.",
        examples=(
            ("Print the IDs of the files that failed", "filestead vector-stores:files list vs_abc123 "
             "--filter failed -r --transform id"),
        ),
    ),
    Command(
        _GROUP,
        "delete",
        "Detach a file from a vector store; the file itself is kept",
        endpoint=endpoint("DELETE", "/{vector_store_id}/files/{file_id}"),
        flags=(STORE_ID, FILE_ID),
        examples=(("Detach a file", "filestead vector-stores:files delete vs_abc123 file-abc123"),),
    ),
    Command(
        _GROUP,
        "content",
        "Print the extracted text of a file in a vector store",
        endpoint=endpoint("GET", "/{vector_store_id}/files/{file_id}/content", "page"),
        flags=(STORE_ID, FILE_ID, max_items("pieces")),
        description="Prints one piece of text after another, as an object. To download the file itself, use files "
        "content.",
        examples=(
            ("Print the text alone", "filestead vector-stores:files content vs_abc123 file-abc123 -r --transform text"),
        ),
    ),
)  # fmt: skip
