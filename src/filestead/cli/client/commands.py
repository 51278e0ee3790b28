"""The table of client commands and their flags: the parser, the help, the completion and docs/cli.md read it."""

from filestead.cli.client.grammar import Command, Flag

FORMATS = ("auto", "explore", "json", "jsonl", "pretty", "raw", "yaml")
CREATE_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
LIST_PURPOSES = (*CREATE_PURPOSES, "assistants_output", "batch_output", "fine-tune-results")

GLOBAL_FLAGS = (
    Flag("base-url", "Address of the API, up to and with /v1", placeholder="URL", variable="OPENAI_BASE_URL"),
    Flag("api-key", "Key that is sent as bearer token", placeholder="KEY", variable="OPENAI_API_KEY"),
    Flag("organization", "Organization to act for", placeholder="ID", variable="OPENAI_ORG_ID"),
    Flag("project", "Project to act in", placeholder="ID", variable="OPENAI_PROJECT_ID"),
    Flag("format", "How results are printed", placeholder="FORMAT", choices=FORMATS),
    Flag("transform", "GJSON path to what is printed of each result", placeholder="PATH"),
    Flag("raw-output", "Print a string result without its quotes", kind="switch", short="r"),
    Flag("format-error", "How error objects are printed", placeholder="FORMAT", choices=FORMATS),
    Flag("transform-error", "GJSON path to what is printed of an error object", placeholder="PATH"),
    Flag("no-progress", "Draw no progress bar (none is drawn unless standard error is a terminal)", kind="switch"),
    Flag("debug", "Print the head of each request and answer on standard error; secrets are masked", kind="switch"),
    Flag("mtls-client-cert-file", "Client certificate (PEM) for an https address", kind="path", placeholder="FILE",
         variable="OPENAI_MTLS_CLIENT_CERT_FILE"),
    Flag("mtls-client-key-file", "Key (PEM) of the client certificate", kind="path", placeholder="FILE",
         variable="OPENAI_MTLS_CLIENT_KEY_FILE"),
    Flag("admin-api-key", "Accepted for compatibility; no command here uses it", placeholder="KEY"),
    Flag("webhook-secret", "Accepted for compatibility; no command here uses it", placeholder="SECRET"),
)  # fmt: skip

FILE_ID = Flag("file-id", "Id of the file; may stand without the flag", placeholder="ID", where="path", required=True)

FILES = (
    Command(
        "create",
        "Upload a file",
        run="filestead.cli.client.files:create",
        flags=(
            Flag("file", "Path of the file; - reads standard input", kind="path", placeholder="PATH", where="body",
                 required=True),
            Flag("purpose", "What the file is for", placeholder="PURPOSE", where="body", required=True,
                 suggestions=CREATE_PURPOSES),
            Flag("expires-after", "When it expires, as YAML or JSON: {anchor: created_at, seconds: 3600}",
                 kind="mapping", placeholder="MAPPING", where="body"),
            Flag("expires-after.anchor", "Moment from which the seconds count", placeholder="created_at",
                 inner_of="expires-after", suggestions=("created_at",)),
            Flag("expires-after.seconds", "Seconds until it expires, 3600 to 2592000", kind="integer",
                 placeholder="SECONDS", inner_of="expires-after"),
            Flag("filename", "Name that the file gets; default: the last part of the path", placeholder="NAME"),
            Flag("any-purpose", "Send a purpose that looks like a misspelling of a known one all the same",
                 kind="switch"),
        ),
        details="Prints the file object. The file is streamed, whatever its size; an upload is sent once and never "
        "retried. More members of the request can be piped in as YAML or JSON; flags win over them.",
        examples=(
            ("Upload the input of a batch and keep its id", "filestead files create --file data.jsonl --purpose batch "
             "-r --transform id"),
            ("Upload what another program writes", "zcat data.jsonl.gz | filestead files create --file - "
             "--filename data.jsonl --purpose batch"),
            ("Have it expire after a day", "filestead files create --file notes.pdf --purpose user_data "
             "--expires-after.anchor created_at --expires-after.seconds 86400"),
        ),
    ),
    Command(
        "retrieve",
        "Show a file object",
        run="filestead.cli.client.files:retrieve",
        flags=(FILE_ID,),
        examples=(("When does it expire?", "filestead files retrieve file-abc123 --transform expires_at"),),
    ),
    Command(
        "list",
        "List files, newest first",
        run="filestead.cli.client.files:list_",
        flags=(
            Flag("after", "Start behind the file with this id", placeholder="ID", where="query"),
            Flag("limit", "Files per request, 1 to 10000; all pages are followed", kind="integer", placeholder="N",
                 where="query"),
            Flag("order", "Order by time of creation", placeholder="ORDER", where="query",
                 suggestions=("asc", "desc")),
            Flag("purpose", "Only files of this purpose", placeholder="PURPOSE", where="query",
                 suggestions=LIST_PURPOSES),
            Flag("max-items", "Stop after so many files; -1 for all", kind="integer", placeholder="N"),
        ),
        details="Prints one file object after the other, following the pages; --format raw prints the first page as it "
        "came. A long list on a terminal goes to $PAGER.",
        examples=(
            ("Ids of the batch inputs", "filestead files list --purpose batch -r --transform id"),
            ("The five largest files", "filestead files list --format jsonl | jq -s 'sort_by(-.bytes) | .[:5]'"),
        ),
    ),
    Command(
        "content",
        "Download the content of a file",
        run="filestead.cli.client.content:content",
        flags=(
            FILE_ID,
            Flag("output", "File to write; - is standard output", kind="path", short="o", placeholder="PATH"),
        ),
        details="Without -o the bytes go to standard output; what is no text goes to a new file instead if that is a "
        "terminal. With -o the file appears when it is whole and verified; an interrupted download is resumed when the "
        "command is run again.",
        examples=(
            ("Save the results of a batch", "filestead files content file-abc123 -o results.jsonl"),
            ("Count its lines", "filestead files content file-abc123 | wc -l"),
        ),
    ),
    Command(
        "delete",
        "Delete a file, also from every vector store",
        run="filestead.cli.client.files:delete",
        flags=(FILE_ID,),
        examples=(("Delete the files of an old batch", "filestead files list --purpose batch -r --transform id | "
                   "xargs -n 1 filestead files delete"),),
    ),
)  # fmt: skip

GROUPS = {"files": FILES}
GROUP_HELP = {"files": "Upload, list, download and delete files"}

SYNONYMS = {
    **dict.fromkeys(("upload", "add", "put", "push", "send", "new", "post", "store", "import"), "create"),
    **dict.fromkeys(("get", "show", "info", "stat", "describe", "view", "inspect"), "retrieve"),
    **dict.fromkeys(("download", "cat", "fetch", "read", "save", "pull", "export"), "content"),
    **dict.fromkeys(("rm", "remove", "del", "unlink", "erase"), "delete"),
    **dict.fromkeys(("ls", "dir", "all"), "list"),
}
"""What other programs call our commands."""

KEY_SYNONYMS = {**SYNONYMS, **dict.fromkeys(("delete", "rm", "remove", "del", "disable"), "revoke")}

TOP_SYNONYMS = {
    **{word: f"files {name}" for word, name in SYNONYMS.items()},
    **{name: f"files {name}" for name in SYNONYMS.values()},
    **dict.fromkeys(("start", "run", "server"), "serve"),
    **dict.fromkeys(("check", "fsck"), "verify"),
    **dict.fromkeys(("gc", "prune"), "sweep"),
    "file": "files",
    "key": "keys",
    "upgrade": "migrate",
    "version": "--version",
}
"""What people type where a group is missing, or by another program's name for it."""

SERVER_COMMANDS = {
    "serve": "Serve the OpenAI Files API",
    "keys": "Create, list and revoke API keys",
    "verify": "Check that every file has its bytes and nothing is left over",
    "sweep": "Remove the bytes of expired and deleted files now",
    "migrate": "Bring the database of a shared installation to this version",
    "copy": "Copy an installation, embedded or shared, to another",
    "healthcheck": "Ask the server on this machine whether it can serve",
}
"""Their flags and help are in `admin.py`, which is loaded only for them: it needs the server's libraries."""

TOOLS = {"completion": "Print the completion script of a shell: bash, zsh or fish"}
