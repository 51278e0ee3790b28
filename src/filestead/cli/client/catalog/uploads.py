"""The commands of `filestead uploads`."""

from filestead.cli.client.catalog.files import CREATE_PURPOSES
from filestead.cli.client.grammar.model import Command, Endpoint, Flag

UPLOAD_ID = Flag("upload-id", "ID of the upload; the flag name may be omitted", placeholder="UPLOAD_ID",
                 location="path", required=True)  # fmt: skip

COMMANDS = (
    Command(
        "uploads",
        "create",
        "Begin an upload in parts",
        endpoint=Endpoint("POST", "/uploads"),
        flags=(
            Flag("bytes", "Size of the whole file, at most 8 GiB", kind="integer", placeholder="N", location="body",
                 required=True),
            Flag("filename", "Name of the file", placeholder="NAME", location="body", required=True),
            Flag("mime-type", "Media type of the file", placeholder="TYPE", location="body", required=True),
            Flag("purpose", "Intended use of the file", placeholder="PURPOSE", location="body", required=True,
                 suggestions=CREATE_PURPOSES),
            Flag("expires-after", "Expiration policy of the file as YAML or JSON: {anchor: created_at, seconds: 3600}",
                 kind="mapping", placeholder="MAPPING", location="body"),
            Flag("expires-after.anchor", "Time from which the seconds are counted", placeholder="created_at",
                 parent="expires-after", suggestions=("created_at",)),
            Flag("expires-after.seconds", "Seconds until the file expires, 3600 to 2592000", kind="integer",
                 placeholder="SECONDS", parent="expires-after"),
        ),
        description="Prints the upload. It expires one hour later unless it is completed. files create uploads a large "
        "file in parts with one command. Further members of the request can be piped in as YAML or JSON; flags "
        "override them.",
        examples=(
            ("Begin an upload and print its ID", "filestead uploads create --bytes 104857600 "
             "--filename data.jsonl --mime-type text/jsonl --purpose batch -r --transform id"),
        ),
    ),
    Command(
        "uploads",
        "cancel",
        "Cancel an upload and remove its parts",
        endpoint=Endpoint("POST", "/uploads/{upload_id}/cancel"),
        flags=(UPLOAD_ID,),
        examples=(("Cancel an upload", "filestead uploads cancel upload_abc123"),),
    ),
    Command(
        "uploads",
        "complete",
        "Make a file of the parts",
        endpoint=Endpoint("POST", "/uploads/{upload_id}/complete"),
        flags=(
            UPLOAD_ID,
            Flag("part-id", "ID of a part, in the order of the file", placeholder="PART_ID", location="body",
                 wire="part_ids", required=True, repeatable=True),
            Flag("md5", "MD5 of the whole file in hexadecimal, for the server to check", placeholder="MD5",
                 location="body"),
        ),
        description="Prints the upload, with the file object in file.",
        examples=(
            ("Complete an upload of two parts and print the ID of the file", "filestead uploads complete upload_abc123 "
             "--part-id part_abc123 --part-id part_def456 -r --transform file.id"),
        ),
    ),
)  # fmt: skip
