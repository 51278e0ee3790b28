"""The groups of client commands, one for each resource. Dispatch, help, completion and docs/cli.md use them."""

from filestead.cli.client.grammar.model import Group

_CATALOG = "filestead.cli.client.catalog"

GROUPS = {
    "files": Group(
        "Upload, list, download and delete files",
        f"{_CATALOG}.files",
        examples=(
            ("Upload a file and print its ID",
             "filestead files create --file data.jsonl --purpose batch -r --transform id"),
            ("Save its content", "filestead files content file-abc123 -o copy.jsonl"),
        ),
    ),
    "batches": Group(
        "Run files of requests, and fetch their results",
        f"{_CATALOG}.batches",
        examples=(
            ("Check a file, run it and save the results", "filestead batches run requests.jsonl"),
            ("Show how many lines are done", "filestead batches retrieve batch_abc123 --transform request_counts"),
        ),
    ),
    "uploads": Group(
        "Upload a large file in parts",
        f"{_CATALOG}.uploads",
        examples=(
            ("Begin an upload", "filestead uploads create --bytes 10 --filename a.jsonl --mime-type text/jsonl "
             "--purpose batch"),
            ("Make a file of its parts",
             "filestead uploads complete upload_abc123 --part-id part_abc123 --part-id part_def456"),
        ),
    ),
    "uploads:parts": Group(
        "Send the parts of an upload",
        f"{_CATALOG}.upload_parts",
        examples=(("Send a part", "filestead uploads:parts create upload_abc123 --data part1.bin"),),
    ),
    "vector-stores": Group(
        "Create, update, search and delete vector stores",
        f"{_CATALOG}.vector_stores",
        examples=(
            ("Create a vector store with two files that are uploaded already",
             "filestead vector-stores create --name manuals --file-id file-abc123 --file-id file-def456"),
            ("Show how many files are still in progress",
             "filestead vector-stores retrieve vs_abc123 --transform file_counts"),
            ("Search it", "filestead vector-stores search vs_abc123 --query 'how do I reset the password'"),
        ),
    ),
    "vector-stores:files": Group(
        "Attach, list, update and detach the files of a vector store",
        f"{_CATALOG}.vector_store_files",
        examples=(
            ("Attach a file that is uploaded already",
             "filestead vector-stores:files create vs_abc123 --file-id file-abc123"),
            ("Show whether it is indexed",
             "filestead vector-stores:files retrieve vs_abc123 file-abc123 --transform status"),
        ),
    ),
    "vector-stores:file-batches": Group(
        "Attach many files to a vector store at once",
        f"{_CATALOG}.vector_store_file_batches",
        examples=(
            ("Attach two files", "filestead vector-stores:file-batches create vs_abc123 --file-id file-abc123 "
             "--file-id file-def456"),
            ("Show how many are in progress, completed and failed",
             "filestead vector-stores:file-batches retrieve vs_abc123 vsfb_abc123 --transform file_counts"),
        ),
    ),
}  # fmt: skip
