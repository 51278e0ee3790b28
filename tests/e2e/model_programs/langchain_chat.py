"""LangChain: a chat model of its own, streamed and whole, with the id of the file in a message."""

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from steps import QUESTION, say, upload

model = ChatOpenAI(model="m")
file_id = upload(model.root_client)
message = HumanMessage(content=[{"type": "text", "text": QUESTION}, {"type": "file", "file": {"file_id": file_id}}])
say("answer", text=model.invoke([message]).text)
say("stream", text="".join(part.text for part in model.stream([message])))
