"""inspect-ai's handling of the files of a batch; it never deletes them."""

import asyncio

from inspect_ai.model import BatchConfig
from inspect_ai.model._providers._openai_batch import OpenAIBatcher
from inspect_ai.model._retry import ModelRetryConfig
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
from steps import SOURCE, say, say_content


async def main() -> None:
    batcher = OpenAIBatcher(AsyncOpenAI(), BatchConfig(), ModelRetryConfig, ChatCompletion)
    with SOURCE.open("rb") as file:
        file_id = await batcher._upload_batch_file(file, {})
    say("upload", id=file_id)
    say_content(await batcher._download_result_file(file_id))


asyncio.run(main())
