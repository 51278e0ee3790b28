"""The commands of `filestead files`."""

from filestead.cli.client.grammar.model import Command, Endpoint, Flag

CREATE_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
LIST_PURPOSES = (*CREATE_PURPOSES, "assistants_output", "batch_output", "fine-tune-results")

_FILE_ID = Flag("file-id", "ID of the file; the flag name may be omitted", placeholder="ID", location="path",
                required=True)  # fmt: skip

COMMANDS = (
    Command(
        "files",
        "create",
        "Upload a file",
        handler="filestead.cli.client.commands.file_upload:create",
        flags=(
            Flag("file", "Path of the file; - reads standard input", kind="path", placeholder="PATH", location="body",
                 required=True),
            Flag("purpose", "Intended use of the file", placeholder="PURPOSE", location="body", required=True,
                 suggestions=CREATE_PURPOSES),
            Flag("expires-after", "Expiration policy as YAML or JSON: {anchor: created_at, seconds: 3600}",
                 kind="mapping", placeholder="MAPPING", location="body"),
            Flag("expires-after.anchor", "Time from which the seconds are counted", placeholder="created_at",
                 parent="expires-after", suggestions=("created_at",)),
            Flag("expires-after.seconds", "Seconds until the file expires, 3600 to 2592000", kind="integer",
                 placeholder="SECONDS", parent="expires-after"),
            Flag("filename", "Name of the uploaded file; default: the last component of the path", placeholder="NAME"),
            Flag("no-parts", "Send the file in one request, whatever its size", kind="switch"),
            Flag("no-resume", "Neither continue an interrupted upload, nor record this one to be continued",
                 kind="switch"),
            Flag("any-purpose", "Send the purpose even if it looks like a misspelling of a known one", kind="switch"),
        ),
        description="Prints the file object. The file is streamed regardless of its size. A file of more than 64 MiB "
        "is sent in parts of 16 MiB, four at a time, where the server has uploads in parts, and each part is retried; "
        "so is one of more than 16 MiB whose connection breaks. If such an upload is interrupted, the same command "
        "continues it within an hour and sends only the missing parts. Any other upload is sent once, never retried. "
        "Further members of the request can be piped in as YAML or JSON; flags override them.",
        examples=(
            ("Upload a batch input file and print its ID", "filestead files create --file data.jsonl --purpose batch "
             "-r --transform id"),
            ("Upload the output of another program", "zcat data.jsonl.gz | filestead files create --file - "
             "--filename data.jsonl --purpose batch"),
            ("Upload a file that expires after one day", "filestead files create --file notes.pdf --purpose user_data "
             "--expires-after.anchor created_at --expires-after.seconds 86400"),
        ),
    ),
    Command(
        "files",
        "retrieve",
        "Show a file object",
        endpoint=Endpoint("GET", "/files/{file_id}"),
        flags=(_FILE_ID,),
        examples=(("Show when a file expires", "filestead files retrieve file-abc123 --transform expires_at"),),
    ),
    Command(
        "files",
        "list",
        "List files, newest first",
        endpoint=Endpoint("GET", "/files", response="pages"),
        flags=(
            Flag("after", "Start after the file with this ID", placeholder="ID", location="query"),
            Flag("limit", "Files per request, 1 to 10000; all pages are fetched", kind="integer", placeholder="N",
                 location="query"),
            Flag("order", "Sort order by creation time", placeholder="ORDER", location="query",
                 suggestions=("asc", "desc")),
            Flag("purpose", "List only files with this purpose", placeholder="PURPOSE", location="query",
                 suggestions=LIST_PURPOSES),
            Flag("max-items", "Maximum number of files to print; -1 prints all", kind="integer", placeholder="N"),
        ),
        description="Prints one file object after another and fetches all pages; --format raw prints the first page "
        "unchanged. If a list is longer than the terminal, it is shown in $PAGER.",
        examples=(
            ("Print the IDs of all batch input files", "filestead files list --purpose batch -r --transform id"),
            ("Show the five largest files", "filestead files list --format jsonl | jq -s 'sort_by(-.bytes) | .[:5]'"),
        ),
    ),
    Command(
        "files",
        "delete",
        "Delete a file, also from every vector store",
        endpoint=Endpoint("DELETE", "/files/{file_id}"),
        flags=(_FILE_ID,),
        examples=(("Delete all batch input files", "filestead files list --purpose batch -r --transform id | "
                   "xargs -n 1 filestead files delete"),),
    ),
    Command(
        "files",
        "content",
        "Download the content of a file",
        handler="filestead.cli.client.commands.file_content:content",
        flags=(
            _FILE_ID,
            Flag("output", "File to write; - is standard output", kind="path", short="o", placeholder="PATH"),
        ),
        description="Without -o, the content is written to standard output; if that is a terminal, binary content is "
        "written to a new file instead. With -o, the file is put in place when the download is complete and verified. "
        "To resume an interrupted download, run the command again.",
        examples=(
            ("Save the results of a batch", "filestead files content file-abc123 -o results.jsonl"),
            ("Count the lines of a file", "filestead files content file-abc123 | wc -l"),
        ),
    ),
)  # fmt: skip
