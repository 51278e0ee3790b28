"""pydantic-ai: an agent on the Responses API that is given an uploaded file."""

import asyncio

from pydantic_ai import Agent, UploadedFile
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from steps import API_KEY, BASE_URL, QUESTION, SOURCE, say


async def main() -> None:
    provider = OpenAIProvider(base_url=BASE_URL, api_key=API_KEY)
    made = await provider.client.files.create(file=SOURCE, purpose="user_data")
    say("upload", id=made.id)
    agent = Agent(OpenAIResponsesModel("m", provider=provider))
    file = UploadedFile(file_id=made.id, provider_name="openai", media_type="text/plain")
    say("answer", text=(await agent.run([QUESTION, file])).output)
    async with agent.run_stream([QUESTION, file]) as stream:
        say("stream", text=await stream.get_output())


asyncio.run(main())
