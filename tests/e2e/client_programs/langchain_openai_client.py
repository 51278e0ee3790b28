"""LangChain has no calls of its own for files: its model's client is the official one, set up by LangChain."""

from langchain_openai import ChatOpenAI
from steps import five

five(ChatOpenAI(model="m").root_client)
