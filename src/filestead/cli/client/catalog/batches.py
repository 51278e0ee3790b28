"""The commands of `filestead batches`. Those marked as ours are not in the official command line."""

from filestead.cli.client.grammar.model import Command, Endpoint, Flag

ENDPOINTS = (
    *("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations"),
    *("/v1/images/generations", "/v1/images/edits", "/v1/videos"),
)
OURS = " (not in `openai`)"
"""The mark of a command that the official command line does not have."""
_HANDLERS = "filestead.cli.client.commands"

_BATCH_ID = Flag("batch-id", "ID of the batch; the flag name may be omitted", placeholder="BATCH_ID", location="path",
                 required=True)  # fmt: skip
_FILE = Flag("file", "Path of the batch input file; the flag name may be omitted", kind="path", placeholder="FILE",
             location="path", required=True)  # fmt: skip
_ENDPOINT = Flag("endpoint", "Path of the requests; default: the url of the first line", placeholder="PATH",
                 suggestions=ENDPOINTS)  # fmt: skip
_METADATA = Flag("metadata", "Up to 16 pairs of strings as YAML or JSON: {job: nightly}", kind="mapping",
                 placeholder="MAPPING", location="body")  # fmt: skip
_STATUSES = (
    "Exit status: 0 if every line has a response of 2xx, 4 if lines failed, 5 if the batch failed, expired or was "
    "cancelled."
)

COMMANDS = (
    Command(
        "batches",
        "create",
        "Create a batch from a file that is uploaded already",
        endpoint=Endpoint("POST", "/batches"),
        flags=(
            Flag("completion-window", "Time in which the batch must end", placeholder="24h", location="body",
                 required=True, suggestions=("24h",)),
            Flag("endpoint", "Path of the requests", placeholder="PATH", location="body", required=True,
                 suggestions=ENDPOINTS),
            Flag("input-file-id", "ID of the input file", placeholder="ID", location="body", required=True),
            _METADATA,
            Flag("output-expires-after", "Expiration policy of the results as YAML or JSON: "
                 "{anchor: created_at, seconds: 3600}", kind="mapping", placeholder="MAPPING", location="body"),
            Flag("output-expires-after.anchor", "Time from which the seconds are counted", placeholder="created_at",
                 parent="output-expires-after", suggestions=("created_at",)),
            Flag("output-expires-after.seconds", "Seconds until the results expire, 3600 to 2592000", kind="integer",
                 placeholder="SECONDS", parent="output-expires-after"),
        ),
        description="Prints the batch. Further members of the request can be piped in as YAML or JSON; flags override "
        "them.",
        examples=(
            ("Create a batch and print its ID", "filestead batches create --completion-window 24h "
             "--endpoint /v1/chat/completions --input-file-id file-abc123 -r --transform id"),
        ),
    ),
    Command(
        "batches",
        "retrieve",
        "Show a batch",
        endpoint=Endpoint("GET", "/batches/{batch_id}"),
        flags=(_BATCH_ID,),
        examples=(("Show how many lines are done", "filestead batches retrieve batch_abc123 "
                   "--transform request_counts"),),
    ),
    Command(
        "batches",
        "list",
        "List batches, newest first",
        endpoint=Endpoint("GET", "/batches", "pages"),
        flags=(
            Flag("after", "Start after the batch with this ID", placeholder="ID", location="query"),
            Flag("limit", "Batches per request, 1 to 100; all pages are fetched", kind="integer", placeholder="N",
                 location="query"),
            Flag("max-items", "Maximum number of batches to print; -1 prints all", kind="integer", placeholder="N"),
        ),
        description="Prints one batch after another and fetches all pages; --format raw prints the first page "
        "unchanged.",
        examples=(("Print the ID and status of each", "filestead batches list --format jsonl --transform "
                   "'{id,status}'"),),
    ),
    Command(
        "batches",
        "cancel",
        "Cancel a batch; finished lines are kept",
        endpoint=Endpoint("POST", "/batches/{batch_id}/cancel"),
        flags=(_BATCH_ID,),
        examples=(("Cancel a batch", "filestead batches cancel batch_abc123"),),
    ),
    Command(
        "batches",
        "run",
        f"Upload a file, run it as a batch, save its results{OURS}",
        handler=f"{_HANDLERS}.batch_run:run",
        flags=(
            _FILE,
            _ENDPOINT,
            Flag("completion-window", "Time in which the batch must end; default: 24h", placeholder="24h",
                 location="body", suggestions=("24h",)),
            Flag("output", "File for the lines with a response of 2xx; default: FILE_output.jsonl; - is standard "
                 "output", kind="path", short="o", placeholder="PATH"),
            Flag("errors", "File for all other lines; default: FILE_error.jsonl", kind="path", placeholder="PATH"),
            _METADATA,
            Flag("detach", "Print the batch as soon as it is created, and do not wait", kind="switch"),
            Flag("no-check", "Do not check the lines before the upload", kind="switch"),
        ),
        description="Checks the lines as `batches check` does, and sends nothing if one has a fault. Shows the "
        "progress on a terminal, and prints a line twice a minute elsewhere. Ctrl-C asks whether to cancel the batch. "
        f"Prints the batch when it has ended. Works with any server that has the official routes. {_STATUSES}",
        examples=(
            ("Run a file; the results are in requests_output.jsonl", "filestead batches run requests.jsonl"),
            ("Run it in the background and print the ID", "filestead batches run requests.jsonl --detach -r "
             "--transform id"),
            ("Pass the results on to another program", "filestead batches run requests.jsonl -o - | "
             "jq -r .response.body.choices[0].message.content"),
        ),
    ),
    Command(
        "batches",
        "wait",
        f"Wait until a batch has ended{OURS}",
        handler=f"{_HANDLERS}.batch_run:wait",
        flags=(_BATCH_ID,),
        description=f"Shows the progress as `batches run` does, and prints the batch when it has ended. {_STATUSES}",
        examples=(("Wait without a bar and print the final status", "filestead batches wait batch_abc123 "
                   "--no-progress -r --transform status"),),
    ),
    Command(
        "batches",
        "results",
        f"Print the results of a batch, also while it runs{OURS}",
        handler=f"{_HANDLERS}.batch_results:results",
        flags=(
            _BATCH_ID,
            Flag("errors", "Print the lines without a response of 2xx instead", kind="switch"),
            Flag("follow", "Go on until the batch has ended", kind="switch", short="f"),
            Flag("output", "File to write; - is standard output", kind="path", short="o", placeholder="PATH"),
        ),
        description="Prints whole lines in the order in which they were finished. Another server than Filestead has "
        "the results only at the end; there, --follow waits for them.",
        examples=(
            ("Count the lines that are done", "filestead batches results batch_abc123 | wc -l"),
            ("Show each error as it comes", "filestead batches results batch_abc123 --errors --follow"),
        ),
    ),
    Command(
        "batches",
        "retry",
        f"Create a batch of the lines that failed{OURS}",
        endpoint=Endpoint("POST", "/batches/{batch_id}/retry"),
        flags=(_BATCH_ID,),
        description="Prints a new batch of the lines of an ended one that failed, expired or were cancelled. Only "
        "Filestead has this route.",
        examples=(("Retry what failed and print the ID of the new batch", "filestead batches retry batch_abc123 -r "
                   "--transform id"),),
    ),
    Command(
        "batches",
        "check",
        f"Check the lines of a file without a server{OURS}",
        handler=f"{_HANDLERS}.batch_check:check",
        flags=(
            _FILE,
            _ENDPOINT,
            Flag("single-model", "Require one model for all lines, as the hosted service does", kind="switch"),
        ),
        description="Prints a line for each fault, with the file, the number of the line and the code. Exit status: 0 "
        "without faults, 1 with faults. The server applies the same checks.",
        examples=(("Check a file", "filestead batches check requests.jsonl"),),
    ),
)  # fmt: skip
