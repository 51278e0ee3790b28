"""The commands of `filestead uploads:parts`."""

from filestead.cli.client.catalog.uploads import UPLOAD_ID
from filestead.cli.client.grammar.model import Command, Endpoint, Flag

COMMANDS = (
    Command(
        "uploads:parts",
        "create",
        "Add a part to an upload",
        endpoint=Endpoint("POST", "/uploads/{upload_id}/parts", body="form"),
        flags=(
            UPLOAD_ID,
            Flag("data", "Path of the bytes of the part, at most 64 MiB; - reads standard input", kind="path",
                 placeholder="PATH", location="body", required=True),
        ),
        description="Prints the part. Parts may be sent at the same time; their order is that of uploads complete.",
        examples=(
            ("Send the first 64 MiB of a file", "head -c 67108864 data.jsonl | "
             "filestead uploads:parts create upload_abc123 --data - -r --transform id"),
        ),
    ),
)  # fmt: skip
