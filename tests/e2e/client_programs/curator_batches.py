"""Curator's handling of the files of a batch: it waits until an upload is processed, and deletes it at the end."""

import asyncio

from bespokelabs.curator.request_processor.batch.openai_batch_request_processor import OpenAIBatchRequestProcessor
from bespokelabs.curator.request_processor.config import BatchRequestProcessorConfig
from steps import API_KEY, BASE_URL, SOURCE, say


async def main() -> None:
    config = BatchRequestProcessorConfig(model="gpt-4o-mini", base_url=BASE_URL, api_key=API_KEY)
    processor = OpenAIBatchRequestProcessor(config)
    made = await processor.upload_batch_file(SOURCE.read_bytes())
    say("upload", id=made.id)
    await processor.delete_file(made.id, asyncio.Semaphore(1))
    say("delete", deleted=True)  # it answers nothing; the server is asked


asyncio.run(main())
