"""pydantic-ai: the asynchronous client that its provider makes."""

import asyncio

from pydantic_ai.providers.openai import OpenAIProvider
from steps import API_KEY, BASE_URL, SOURCE, say, say_content


async def main() -> None:
    client = OpenAIProvider(base_url=BASE_URL, api_key=API_KEY).client
    made = await client.files.create(file=SOURCE, purpose="batch")
    say("upload", id=made.id)
    say("list", ids=[each.id async for each in client.files.list()])
    found = await client.files.retrieve(made.id)
    say("retrieve", id=found.id, bytes=found.bytes, filename=found.filename)
    say_content((await client.files.content(made.id)).content)
    say("delete", deleted=(await client.files.delete(made.id)).deleted)


asyncio.run(main())
