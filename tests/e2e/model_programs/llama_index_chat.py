"""LlamaIndex has no block for the id of a file: its model is asked a question, and its client about the file."""

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from steps import API_KEY, BASE_URL, QUESTION, say, upload

model = OpenAI(model="gpt-4o", api_base=BASE_URL, api_key=API_KEY)
client = model._get_client()
content = [{"type": "text", "text": QUESTION}, {"type": "file", "file": {"file_id": upload(client)}}]
answered = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])
say("answer", text=answered.choices[0].message.content)
say("stream", text="".join(part.delta or "" for part in model.stream_chat([ChatMessage(QUESTION)])))
