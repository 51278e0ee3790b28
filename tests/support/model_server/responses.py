"""Bodies of responses: what a request asks for in tokens, and the shapes of the API."""

import hashlib
import itertools
import time
from typing import Any

import msgspec

from tests.support.model_server.physics import Request

CHARACTERS_PER_TOKEN = 4
DIMENSIONS = 8
_numbers = itertools.count()


class Message(msgspec.Struct):
    role: str = "user"
    content: Any = ""


class Body(msgspec.Struct):
    """What matters of a request to any of the endpoints."""

    model: str = ""
    messages: list[Message] = []
    prompt: Any = ""
    input: Any = ""
    instructions: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None


decode = msgspec.json.Decoder(Body).decode
encode = msgspec.json.Encoder().encode


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return encode(content).decode()


def last_text(body: Body) -> str:
    return text_of(body.messages[-1].content) if body.messages else text_of(body.prompt or body.input)


def request_of(path: str, body: Body) -> Request:
    """The tokens of a request; without a limit, outputs have 20 to 120, by a hash of the text."""
    prefix = body.instructions or "".join(
        text_of(message.content) for message in body.messages if message.role in {"system", "developer"}
    )
    text = last_text(body)
    output = body.max_completion_tokens or body.max_tokens or body.max_output_tokens
    if path.endswith("/embeddings"):
        output = 1
    elif output is None:
        output = 20 + hashlib.sha256(text.encode()).digest()[0] * 100 // 255
    prompt = prefix + "".join(text_of(m.content) for m in body.messages if m.role not in {"system", "developer"})
    size = len(prompt) if body.messages else len(prefix) + len(text)
    return Request(output, tokens(size), prefix, tokens(len(prefix)) if prefix else 0)


def tokens(characters: int) -> int:
    return max(1, characters // CHARACTERS_PER_TOKEN)


def response_to(path: str, body: Body, request: Request) -> bytes:
    shape = {"/v1/embeddings": embeddings, "/v1/responses": response, "/v1/completions": completion}
    return encode(shape.get(path, chat_completion)(body, request))


def chat_completion(body: Body, request: Request) -> Any:
    return {
        "id": f"chatcmpl-{next(_numbers)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "echo: " + last_text(body)[:200]},
                "finish_reason": "stop",
            }
        ],
        "usage": completion_usage(request),
    }


def completion(body: Body, request: Request) -> Any:
    choice = {"index": 0, "text": "echo: " + last_text(body)[:200], "finish_reason": "stop"}
    return {
        "id": f"cmpl-{next(_numbers)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": body.model,
        "choices": [choice],
        "usage": completion_usage(request),
    }


def completion_usage(request: Request) -> Any:
    return {
        "prompt_tokens": request.prompt_tokens,
        "completion_tokens": request.output_tokens,
        "total_tokens": request.prompt_tokens + request.output_tokens,
        "prompt_tokens_details": {"cached_tokens": request.cached_tokens},
    }


def embeddings(body: Body, request: Request) -> Any:
    texts = body.input if isinstance(body.input, list) else [body.input]
    rows = [
        {
            "object": "embedding",
            "index": n,
            "embedding": [b / 255 for b in hashlib.sha256(encode(text)).digest()[:DIMENSIONS]],
        }
        for n, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": request.prompt_tokens, "total_tokens": request.prompt_tokens}
    return {"object": "list", "data": rows, "model": body.model, "usage": usage}


def response(body: Body, request: Request) -> Any:
    content = [{"type": "output_text", "text": "echo: " + last_text(body)[:200], "annotations": []}]
    return {
        "id": f"resp_{next(_numbers)}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": body.model,
        "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}],
        "usage": {
            "input_tokens": request.prompt_tokens,
            "input_tokens_details": {"cached_tokens": request.cached_tokens},
            "output_tokens": request.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": request.prompt_tokens + request.output_tokens,
        },
    }
