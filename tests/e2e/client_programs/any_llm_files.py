"""any-llm's own interface to the files of providers."""

from any_llm import AnyLLM
from steps import API_KEY, BASE_URL, SOURCE, say, say_content

llm = AnyLLM.create("openai", api_key=API_KEY, api_base=BASE_URL)
made = llm.upload_file(SOURCE, purpose="batch")
say("upload", id=made.id)
say("list", ids=[each.id for each in llm.list_files().data])
found = llm.retrieve_file(made.id)
say("retrieve", id=found.id, bytes=found.size_bytes, filename=found.filename)
with llm.download_file(made.id) as download:
    say_content(b"".join(download))
say("delete", deleted=llm.delete_file(made.id).deleted)
