"""LlamaIndex: the client that its model makes."""

from llama_index.llms.openai import OpenAI
from steps import API_KEY, BASE_URL, five

five(OpenAI(model="gpt-4o", api_base=BASE_URL, api_key=API_KEY)._get_client())
