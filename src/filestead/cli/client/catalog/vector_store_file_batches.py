"""The commands of `filestead vector-stores:file-batches`."""

from filestead.cli.client.catalog.vector_store_flags import (
    ATTRIBUTES,
    CHUNKING_STRATEGY,
    STATUS_FILTER,
    STORE_ID,
    endpoint,
    list_flags,
)
from filestead.cli.client.grammar.model import Command, Flag

_GROUP = "vector-stores:file-batches"
_BATCH_ID = Flag("batch-id", "ID of the file batch; the flag name may be omitted", placeholder="BATCH_ID",
                 location="path", required=True)  # fmt: skip
_LIST_FLAGS = list_flags("files")

COMMANDS = (
    Command(
        _GROUP,
        "create",
        "Attach several files to a vector store",
        endpoint=endpoint("POST", "/{vector_store_id}/file_batches"),
        flags=(
            STORE_ID,
            Flag("file-id", "ID of a file to attach", placeholder="ID", location="body", wire="file_ids",
                 repeatable=True),
            Flag("file", "File with attributes or chunking of its own, as YAML or JSON: "
                 "{file_id: file-abc123, attributes: {author: ann}}", kind="mapping", placeholder="MAPPING",
                 location="body", wire="files", repeatable=True),
            Flag("file.file-id", "ID of the file; a second one begins the next file", placeholder="ID", parent="file"),
            Flag("file.attributes", "Attributes of this file", kind="mapping", placeholder="MAPPING", parent="file"),
            Flag("file.chunking-strategy", "How this file is cut into chunks", kind="mapping", placeholder="MAPPING",
                 parent="file"),
            ATTRIBUTES,
            CHUNKING_STRATEGY,
        ),
        description="Prints the file batch. Use either --file-id, with --attributes and --chunking-strategy for all "
        "files, or --file. Further members of the request can be piped in as YAML or JSON; flags override them.",
        examples=(
            ("Attach two files", "filestead vector-stores:file-batches create vs_abc123 --file-id file-abc123 "
             "--file-id file-def456"),
            ("Attach two files with attributes of their own", "filestead vector-stores:file-batches create vs_abc123 "
             "--file.file-id file-abc123 --file.attributes '{author: ann}' --file.file-id file-def456 "
             "--file.attributes '{author: bob}'"),
            ("Attach all files for assistants", "filestead files list --purpose assistants -r --transform id | "
             "sed 's/^/--file-id /' | xargs filestead vector-stores:file-batches create vs_abc123"),
        ),
    ),
    Command(
        _GROUP,
        "retrieve",
        "Show a file batch",
        endpoint=endpoint("GET", "/{vector_store_id}/file_batches/{batch_id}"),
        flags=(STORE_ID, _BATCH_ID),
        examples=(
            ("Show how many files are done", "filestead vector-stores:file-batches retrieve vs_abc123 vsfb_abc123 "
             "--transform file_counts"),
        ),
    ),
    Command(
        _GROUP,
        "cancel",
        "Cancel the files of a batch that are in progress",
        endpoint=endpoint("POST", "/{vector_store_id}/file_batches/{batch_id}/cancel"),
        flags=(STORE_ID, _BATCH_ID),
        examples=(("Cancel a file batch", "filestead vector-stores:file-batches cancel vs_abc123 vsfb_abc123"),),
    ),
    Command(
        _GROUP,
        "list-files",
        "List the files of a batch, newest first",
        endpoint=endpoint("GET", "/{vector_store_id}/file_batches/{batch_id}/files", "pages"),
        flags=(STORE_ID, _BATCH_ID, *_LIST_FLAGS[:2], STATUS_FILTER, *_LIST_FLAGS[2:]),
        description="Prints one file after another and fetches all pages; --format raw prints the first page "
        "unchanged.",
        examples=(
            ("Show the reasons of failures", "filestead vector-stores:file-batches list-files vs_abc123 vsfb_abc123 "
             "--filter failed --transform '{id,last_error}'"),
        ),
    ),
)  # fmt: skip
