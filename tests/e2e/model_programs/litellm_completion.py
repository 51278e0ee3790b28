"""LiteLLM's functions, which build their requests themselves."""

import litellm
from steps import API_KEY, BASE_URL, QUESTION, SOURCE, say

options = {"api_base": BASE_URL, "api_key": API_KEY}
with SOURCE.open("rb") as file:
    made = litellm.create_file(file=file, purpose="user_data", custom_llm_provider="openai", **options)
say("upload", id=made.id)
content = [{"type": "text", "text": QUESTION}, {"type": "file", "file": {"file_id": made.id}}]
messages = [{"role": "user", "content": content}]
answered = litellm.completion(model="openai/m", messages=messages, **options)
say("answer", text=answered.choices[0].message.content)
parts = litellm.completion(model="openai/m", messages=messages, stream=True, **options)
say("stream", text="".join(part.choices[0].delta.content or "" for part in parts))
