"""The groups of client commands, one for each resource. Dispatch, help, completion and docs/cli.md use them."""

from filestead.cli.client.catalog import vector_stores
from filestead.cli.client.catalog.files import FILE_COMMANDS

GROUPS = {
    "files": FILE_COMMANDS,
    vector_stores.STORES: vector_stores.VECTOR_STORE_COMMANDS,
    vector_stores.FILES: vector_stores.FILE_COMMANDS,
    vector_stores.BATCHES: vector_stores.FILE_BATCH_COMMANDS,
}
GROUP_HELP = {
    "files": "Upload, list, download and delete files",
    vector_stores.STORES: "Create, search, list and delete vector stores",
    vector_stores.FILES: "Attach files to a vector store, list and detach them",
    vector_stores.BATCHES: "Attach many files to a vector store at once",
}
