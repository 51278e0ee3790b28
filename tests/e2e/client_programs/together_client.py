"""Together's package. It uploads by another protocol, so the file is there already: its id is the second word."""

import sys

from steps import API_KEY, BASE_URL, say, say_content
from together import Together

file_id = sys.argv[2]
client = Together(api_key=API_KEY, base_url=BASE_URL.removesuffix("/v1"))
say("list", ids=[each.id for each in client.files.list().data])
found = client.files.retrieve(file_id)
say("retrieve", id=found.id, bytes=found.bytes, filename=found.filename)
say_content(client.files.content(file_id).read())
client.files.delete(file_id)
say("delete", deleted=True)  # what it answers has no member that says so
