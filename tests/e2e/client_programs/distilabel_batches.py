"""distilabel's handling of the files of a batch. It makes the file itself, so it says what is in it; it never deletes them."""

import hashlib
from types import SimpleNamespace

from distilabel.models import OpenAILLM
from steps import API_KEY, BASE_URL, say

inputs = [[{"role": "user", "content": f"question {number}"}] for number in range(500)]
options = {"model": "m"}
llm = OpenAILLM(model="m", base_url=BASE_URL, api_key=API_KEY, use_offline_batch_generation=True)
llm.load()
(sent,) = (buffer.getvalue() for buffer in llm._create_jsonl_buffers(inputs=inputs, **options))
(made,) = llm._create_batch_files(inputs=inputs, **options)
say("upload", id=made.id, sha256=hashlib.sha256(sent).hexdigest())
read = llm._retrieve_batch_results(SimpleNamespace(output_file_id=made.id))
say("content", lines=len(read))
