"""Runs a batch input through LiteLLM's router, as its proxy runs a batch for a server without batches of its own.

A program for a Python that has LiteLLM, with the arguments URL, INPUT and OUTPUT; prints the lines, the
seconds from the first request to the written output, and how many lines it ran at a time. The proxy adds keys,
PostgreSQL and logging to this.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import litellm

CONCURRENCY = 4
"""That of the runner of version 1.110."""


async def run(url: str, source: Path, target: Path) -> tuple[int, float, int]:
    """Run all lines; returns their number, the seconds, and the lines at a time."""
    limit = int(getattr(litellm.constants, "LITELLM_EXECUTED_BATCH_CONCURRENCY", CONCURRENCY))
    params = {"model": "hosted_vllm/m", "api_base": url, "api_key": "none"}
    router = litellm.Router(model_list=[{"model_name": "m", "litellm_params": params}])
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    places = asyncio.Semaphore(limit)

    async def result_of(line: dict[str, Any]) -> dict[str, Any]:
        async with places:
            response = await router.acompletion(**line["body"], disable_fallbacks=True)
            body = {"status_code": 200, "body": response.model_dump()}
            return {"custom_id": line["custom_id"], "response": body, "error": None}

    await result_of(lines[0])  # connections and lazy imports
    started = time.perf_counter()
    results = await asyncio.gather(*map(result_of, lines))
    target.write_text("".join(json.dumps(result) + "\n" for result in results))
    return len(results), time.perf_counter() - started, limit


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))))
