"""openai-agents: an agent that is given the id of a file."""

import asyncio

from agents import Agent, Runner, set_default_openai_client, set_tracing_disabled
from openai import AsyncOpenAI
from steps import QUESTION, SOURCE, say


async def main() -> None:
    client = AsyncOpenAI()
    set_default_openai_client(client)
    set_tracing_disabled(True)
    made = await client.files.create(file=SOURCE, purpose="user_data")
    say("upload", id=made.id)
    content = [{"type": "input_text", "text": QUESTION}, {"type": "input_file", "file_id": made.id}]
    agent = Agent(name="reader", model="m")
    asked = [{"role": "user", "content": content}]
    say("answer", text=(await Runner.run(agent, asked)).final_output)
    streamed = Runner.run_streamed(agent, asked)
    async for _ in streamed.stream_events():
        pass
    say("stream", text=streamed.final_output)


asyncio.run(main())
