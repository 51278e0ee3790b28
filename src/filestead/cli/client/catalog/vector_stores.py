"""The commands of `filestead vector-stores`, `vector-stores:files` and `vector-stores:file-batches`."""

from dataclasses import replace

from filestead.cli.client.grammar.model import RESOURCE_HANDLER, Command, Flag

STORES, FILES, BATCHES = "vector-stores", "vector-stores:files", "vector-stores:file-batches"
STATUSES = ("in_progress", "completed", "failed", "cancelled")
_STORE_PATH = "/vector_stores/{vector-store-id}"
_FILE_PATH = f"{_STORE_PATH}/files/{{file-id}}"
_BATCH_PATH = f"{_STORE_PATH}/file_batches/{{batch-id}}"

_STORE_ID = Flag("vector-store-id", "ID of the vector store; the flag name may be omitted", placeholder="VECTOR_STORE",
                 location="path", required=True)  # fmt: skip
_FILE_ID = Flag("file-id", "ID of the file; the flag name may be omitted", placeholder="FILE", location="path",
                required=True)  # fmt: skip
_BATCH_ID = Flag("batch-id", "ID of the file batch; the flag name may be omitted", placeholder="BATCH",
                 location="path", required=True)  # fmt: skip
_NAME = Flag("name", "Name of the vector store", placeholder="NAME", location="body")
_METADATA = Flag("metadata", "Up to 16 pairs of texts as YAML or JSON: {team: research}", kind="mapping",
                 placeholder="MAPPING", location="body")  # fmt: skip
_ATTRIBUTES = Flag("attributes", "Up to 16 attributes for filters as YAML or JSON: {year: 2024, draft: false}",
                   kind="mapping", placeholder="MAPPING", location="body")  # fmt: skip
_CHUNKING = Flag("chunking-strategy", "How text is cut into chunks as YAML or JSON: {type: static, static: "
                 "{max_chunk_size_tokens: 800, chunk_overlap_tokens: 400}}", kind="mapping", placeholder="MAPPING",
                 location="body")  # fmt: skip
_EXPIRES_AFTER = (
    Flag("expires-after", "Expiration policy as YAML or JSON: {anchor: last_active_at, days: 7}", kind="mapping",
         placeholder="MAPPING", location="body"),
    Flag("expires-after.anchor", "Time from which the days are counted", placeholder="last_active_at",
         parent="expires-after", suggestions=("last_active_at",)),
    Flag("expires-after.days", "Days until the vector store expires, 1 to 365", kind="integer", placeholder="DAYS",
         parent="expires-after"),
)  # fmt: skip
_FILTER = Flag("filter", "List only files with this status", placeholder="STATUS", location="query",
               suggestions=STATUSES)  # fmt: skip
_LIST_FLAGS = (
    Flag("after", "Start after the item with this ID", placeholder="ID", location="query"),
    Flag("before", "End before the item with this ID", placeholder="ID", location="query"),
    Flag("limit", "Items per request, 1 to 100; all pages are fetched", kind="integer", placeholder="N",
         location="query"),
    Flag("order", "Sort order by creation time", placeholder="ORDER", location="query", suggestions=("asc", "desc")),
)  # fmt: skip
_MAX_ITEMS = Flag("max-items", "Maximum number of items to print; -1 prints all", kind="integer", placeholder="N")


VECTOR_STORE_COMMANDS = (
    Command(
        "create", "Create a vector store", group=STORES, handler=RESOURCE_HANDLER, method="POST",
        path="/vector_stores", has_body=True,
        flags=(
            _CHUNKING,
            Flag("description", "Description of the vector store", placeholder="TEXT", location="body"),
            *_EXPIRES_AFTER,
            Flag("file-id", "ID of a file to attach; may be repeated", kind="texts", placeholder="FILE",
                 location="body", key="file_ids"),
            _METADATA,
            _NAME,
        ),
        examples=(("Create a store and attach two files", "filestead vector-stores create --name manuals "
                   "--file-id file-abc --file-id file-def"),),
    ),
    Command(
        "retrieve", "Show a vector store", group=STORES, handler=RESOURCE_HANDLER, path=_STORE_PATH,
        flags=(_STORE_ID,),
        examples=(("Show how many files are indexed", "filestead vector-stores retrieve vs_abc --transform "
                   "file_counts"),),
    ),
    Command(
        "update", "Change a vector store", group=STORES, handler=RESOURCE_HANDLER, method="POST", path=_STORE_PATH,
        has_body=True,
        flags=(_STORE_ID, *_EXPIRES_AFTER, _METADATA,
               Flag("name", "Name of the vector store; null removes it", kind="nullable", placeholder="NAME",
                    location="body")),
        examples=(("Let a store expire a week after its last use", "filestead vector-stores update vs_abc "
                   "--expires-after.anchor last_active_at --expires-after.days 7"),),
    ),
    Command(
        "list", "List vector stores, newest first", group=STORES, handler=RESOURCE_HANDLER, path="/vector_stores",
        prints="list", flags=(*_LIST_FLAGS, _MAX_ITEMS),
        examples=(("Print the IDs of all stores", "filestead vector-stores list -r --transform id"),),
    ),
    Command(
        "delete", "Delete a vector store; its files stay", group=STORES, handler=RESOURCE_HANDLER, method="DELETE",
        path=_STORE_PATH, flags=(_STORE_ID,),
        examples=(("Delete a store", "filestead vector-stores delete vs_abc"),),
    ),
    Command(
        "search", "Search a vector store", group=STORES, handler=RESOURCE_HANDLER, method="POST",
        path=f"{_STORE_PATH}/search", has_body=True, prints="page",
        flags=(
            _STORE_ID,
            Flag("query", "Text to search for, or a list of texts as YAML or JSON", kind="any", placeholder="TEXT",
                 location="body", required=True),
            Flag("filters", "Filter on attributes as YAML or JSON: {type: eq, key: year, value: 2024}",
                 kind="mapping", placeholder="MAPPING", location="body"),
            Flag("max-num-results", "Maximum number of results, 1 to 50", kind="integer", placeholder="N",
                 location="body"),
            Flag("ranking-options", "Options of the ranking as YAML or JSON: {score_threshold: 0.5}", kind="mapping",
                 placeholder="MAPPING", location="body"),
            Flag("ranking-options.ranker", "The ranker", placeholder="RANKER", parent="ranking-options",
                 suggestions=("none", "auto", "default-2024-11-15")),
            Flag("ranking-options.score-threshold", "Minimum score, 0 to 1", kind="number", placeholder="SCORE",
                 parent="ranking-options"),
            Flag("rewrite-query", "Allow the server to rewrite the query", kind="switch", location="body"),
            _MAX_ITEMS,
        ),
        description="Prints one result after another, the best first.",
        examples=(("Print file and score of the best results", "filestead vector-stores search vs_abc --query "
                   "'replace the valve' --format jsonl --transform '{filename,score}'"),),
    ),
)  # fmt: skip

FILE_COMMANDS = (
    Command(
        "create", "Attach a file to a vector store", group=FILES, handler=RESOURCE_HANDLER, method="POST",
        path=f"{_STORE_PATH}/files", has_body=True,
        flags=(
            _STORE_ID,
            Flag("file-id", "ID of the file to attach", placeholder="FILE", location="body", required=True),
            _ATTRIBUTES, _CHUNKING,
        ),
        examples=(("Attach a file with an attribute", "filestead vector-stores:files create vs_abc --file-id file-abc "
                   "--attributes '{year: 2024}'"),),
    ),
    Command(
        "retrieve", "Show an attached file", group=FILES, handler=RESOURCE_HANDLER, path=_FILE_PATH,
        flags=(_STORE_ID, _FILE_ID),
        examples=(("Show why a file failed", "filestead vector-stores:files retrieve vs_abc file-abc --transform "
                   "last_error"),),
    ),
    Command(
        "update", "Replace the attributes of an attached file", group=FILES, handler=RESOURCE_HANDLER, method="POST",
        path=_FILE_PATH, has_body=True, flags=(_STORE_ID, _FILE_ID, replace(_ATTRIBUTES, required=True)),
        examples=(("Set an attribute", "filestead vector-stores:files update vs_abc file-abc --attributes "
                   "'{year: 2025}'"),),
    ),
    Command(
        "list", "List attached files, newest first", group=FILES, handler=RESOURCE_HANDLER,
        path=f"{_STORE_PATH}/files", prints="list", flags=(_STORE_ID, *_LIST_FLAGS, _FILTER, _MAX_ITEMS),
        examples=(("Print the IDs of failed files", "filestead vector-stores:files list vs_abc --filter failed -r "
                   "--transform id"),),
    ),
    Command(
        "delete", "Detach a file; the file itself stays", group=FILES, handler=RESOURCE_HANDLER, method="DELETE",
        path=_FILE_PATH, flags=(_STORE_ID, _FILE_ID),
        examples=(("Detach a file", "filestead vector-stores:files delete vs_abc file-abc"),),
    ),
    Command(
        "content", "Print the text of an attached file", group=FILES, handler=RESOURCE_HANDLER,
        path=f"{_FILE_PATH}/content", prints="page", flags=(_STORE_ID, _FILE_ID, _MAX_ITEMS),
        examples=(("Save the text that was extracted", "filestead vector-stores:files content vs_abc file-abc -r "
                   "--transform text > text.txt"),),
    ),
)  # fmt: skip

FILE_BATCH_COMMANDS = (
    Command(
        "create", "Attach several files together", group=BATCHES, handler=RESOURCE_HANDLER, method="POST",
        path=f"{_STORE_PATH}/file_batches", has_body=True,
        flags=(
            _STORE_ID, _ATTRIBUTES, _CHUNKING,
            Flag("file-id", "ID of a file to attach; may be repeated", kind="texts", placeholder="FILE",
                 location="body", key="file_ids"),
            Flag("file", "A file with its own attributes as YAML or JSON: {file_id: file-abc, attributes: {year: "
                 "2024}}; may be repeated", kind="mappings", placeholder="MAPPING", location="body", key="files"),
            Flag("file.file-id", "ID of the file; another one begins the next file", placeholder="FILE", parent="file",
                 parent_is_list=True),
            Flag("file.attributes", "Attributes of the file", kind="mapping", placeholder="MAPPING", parent="file",
                 parent_is_list=True),
            Flag("file.chunking-strategy", "Chunking of the file", kind="mapping", placeholder="MAPPING",
                 parent="file", parent_is_list=True),
        ),
        examples=(("Attach every file of the project", "filestead files list -r --transform id | xargs printf "
                   "'--file-id %s\\n' | xargs filestead vector-stores:file-batches create vs_abc"),),
    ),
    Command(
        "retrieve", "Show a file batch", group=BATCHES, handler=RESOURCE_HANDLER, path=_BATCH_PATH,
        flags=(_STORE_ID, _BATCH_ID),
        examples=(("Show how far a batch is", "filestead vector-stores:file-batches retrieve vs_abc vsfb_abc "
                   "--transform file_counts"),),
    ),
    Command(
        "cancel", "Cancel the files of a batch that are in progress", group=BATCHES, handler=RESOURCE_HANDLER,
        method="POST", path=f"{_BATCH_PATH}/cancel", flags=(_STORE_ID, _BATCH_ID),
        examples=(("Cancel a batch", "filestead vector-stores:file-batches cancel vs_abc vsfb_abc"),),
    ),
    Command(
        "list-files", "List the files of a batch", group=BATCHES, handler=RESOURCE_HANDLER,
        path=f"{_BATCH_PATH}/files", prints="list",
        flags=(_STORE_ID, _BATCH_ID, *_LIST_FLAGS, _FILTER, _MAX_ITEMS),
        examples=(("Print the IDs of failed files", "filestead vector-stores:file-batches list-files vs_abc vsfb_abc "
                   "--filter failed -r --transform id"),),
    ),
)  # fmt: skip
