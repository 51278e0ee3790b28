"""The official package before its rewrite, which sends by `requests`."""

import openai
from steps import BASE_URL, SOURCE, say, say_content

openai.api_base = BASE_URL
with SOURCE.open("rb") as file:
    made = openai.File.create(file=file, purpose="batch", user_provided_filename=SOURCE.name)
say("upload", id=made.id)
say("list", ids=[each.id for each in openai.File.list().data])
found = openai.File.retrieve(made.id)
say("retrieve", id=found.id, bytes=found.bytes, filename=found.filename)
say_content(openai.File.download(made.id))
say("delete", deleted=openai.File.delete(made.id).deleted)
