"""The official Python package at one address: files, and the model that reads them. Nothing is patched."""

import asyncio
import base64
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.event_server import Answer, EventServer, Heard
from tests.support.servers import Server

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
QUESTION = {"role": "user", "content": "hello"}

pytestmark = pytest.mark.embedded("rows and bytes are not concerned")


@pytest.fixture(scope="module")
def client(server: Server) -> OpenAI:
    return OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0)


def test_chat(client: OpenAI) -> None:
    completion = client.chat.completions.create(model="m", messages=[QUESTION])  # type: ignore[list-item]
    assert completion.choices[0].message.content == "echo: hello"
    raw = client.chat.completions.with_raw_response.create(model="m", messages=[QUESTION])  # type: ignore[list-item]
    assert raw.headers["x-ratelimit-remaining-requests"] == "41"
    assert raw.request_id is not None
    assert raw.request_id.startswith("req_")


def test_streamed_chat(client: OpenAI) -> None:
    events: Any = client.chat.completions.create(model="m", messages=[QUESTION], stream=True)  # type: ignore[call-overload]
    assert "".join(event.choices[0].delta.content or "" for event in events) == "echo: hello"


def test_streamed_chat_of_the_asynchronous_client(server: Server) -> None:
    async def run() -> str:
        async with AsyncOpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client:
            events: Any = await client.chat.completions.create(model="m", messages=[QUESTION], stream=True)  # type: ignore[call-overload]
            return "".join([event.choices[0].delta.content or "" async for event in events])

    assert asyncio.run(run()) == "echo: hello"


def test_a_stream_that_is_closed_early(client: OpenAI, upstream: EventServer) -> None:
    async def endless(request: Heard, answer: Answer) -> None:
        await answer.begin_events()
        while True:
            await answer.event({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]})
            await asyncio.sleep(0.01)

    upstream.behave = endless
    events: Any = client.chat.completions.create(model="m", messages=[QUESTION], stream=True)  # type: ignore[call-overload]
    next(iter(events))
    events.close()
    assert upstream.requests[0].gone.wait(30)


def test_responses(client: OpenAI) -> None:
    assert client.responses.create(model="m", input="hello").output_text == "echo: hello"
    with client.responses.stream(model="m", input="hello") as stream:
        assert stream.get_final_response().output_text == "echo: hello"


def test_completions_and_embeddings(client: OpenAI) -> None:
    assert client.completions.create(model="m", prompt="hello").choices[0].text == "echo: hello"
    made = client.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
    assert [len(row.embedding) for row in made.data] == [8, 8]


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["m", "org/n"]
    assert client.models.retrieve("org/n").owned_by == "x"
    with pytest.raises(openai.NotFoundError, match="does not exist or you do not have access"):
        client.models.retrieve("none")


def test_a_transcription(client: OpenAI) -> None:
    made = client.audio.transcriptions.create(model="m", file=("a.wav", b"RIFF" * 1000))
    assert made.text.endswith(" bytes")


def test_files_in_chat(client: OpenAI, upstream: EventServer) -> None:
    document = client.files.create(file=("facts.txt", b"A quokka is a marsupial."), purpose="user_data")
    image = client.files.create(file=("a.png", PNG), purpose="vision")
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "file", "file": {"file_id": document.id}},
        {"type": "image_url", "image_url": {"url": image.id}},
    ]
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": content}])
    received = upstream.requests[-1].json["messages"][0]["content"]
    assert received[0] == content[0]
    assert "A quokka is a marsupial." in received[1]["text"]
    assert received[2]["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()


def test_files_in_responses(client: OpenAI, upstream: EventServer) -> None:
    document = client.files.create(file=("facts.md", b"A quokka is a marsupial."), purpose="user_data")
    image = client.files.create(file=("a.png", PNG), purpose="vision")
    content: Any = [
        {"type": "input_file", "file_id": document.id},
        {"type": "input_image", "file_id": image.id, "detail": "auto"},
        {"type": "input_text", "text": "What is this?"},
    ]
    client.responses.create(model="m", input=[{"role": "user", "content": content}])
    received = upstream.requests[-1].json["input"][0]["content"]
    assert "A quokka is a marsupial." in received[0]["text"]
    assert received[1]["image_url"].startswith("data:image/png;base64,")
    with pytest.raises(openai.BadRequestError, match="No such File object: file-none") as raised:
        client.responses.create(
            model="m", input=[{"role": "user", "content": [{"type": "input_file", "file_id": "file-none"}]}]
        )
    assert raised.value.param == "input[0].content[0].file_id"


def test_a_model_server_that_does_not_respond(impatient: Server, upstream: EventServer) -> None:
    client = OpenAI(base_url=impatient.base_url, api_key=impatient.key, max_retries=0)

    async def silent(request: Heard, answer: Answer) -> None:
        await asyncio.sleep(60)

    upstream.behave = silent
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="m", messages=[QUESTION])  # type: ignore[list-item]
    assert (raised.value.status_code, raised.value.code) == (504, "upstream_timeout")
