"""LiteLLM's functions, which build their requests themselves."""

import litellm
from steps import API_KEY, BASE_URL, SOURCE, say, say_content

options = {"custom_llm_provider": "openai", "api_base": BASE_URL, "api_key": API_KEY}
with SOURCE.open("rb") as file:
    made = litellm.create_file(file=file, purpose="batch", **options)
say("upload", id=made.id)
say("list", ids=[each.id for each in litellm.file_list(**options)])
found = litellm.file_retrieve(file_id=made.id, **options)
say("retrieve", id=found.id, bytes=found.bytes, filename=found.filename)
say_content(litellm.file_content(file_id=made.id, **options).content)
say("delete", deleted=litellm.file_delete(file_id=made.id, **options).deleted)
