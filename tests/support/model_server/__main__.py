"""The model server as a process: prints its URL and runs until SIGTERM.

`GET /control/requests` lists the requests so far as [path, idempotency key, body]; `POST /control/faults` takes a list
of faults for the next ones, as `[{"kind": "status", "status": 500}]`.
"""

import argparse
import asyncio
import math
import signal

from tests.support.model_server import Machine, ModelServer


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--instant", action="store_true")
    parser.add_argument("--no-records", action="store_true")
    parser.add_argument("--no-metrics", action="store_true")
    parser.add_argument("--key")
    parser.add_argument("--models", default="m")
    parser.add_argument("--step-seconds", type=float, default=0.02)
    parser.add_argument("--prefill-rate", type=float, default=20_000)
    parser.add_argument("--cached-prefixes", type=int, default=0)
    for name in ("knee", "slots", "refuse-beyond"):
        parser.add_argument(f"--{name}", type=float, default=16 if name == "knee" else math.inf)
    given = parser.parse_args()
    machine = Machine(
        step_seconds=given.step_seconds,
        knee=given.knee,
        slots=given.slots,
        refuse_beyond=given.refuse_beyond,
        prefill_rate=given.prefill_rate,
        cached_prefixes=given.cached_prefixes,
    )
    server = ModelServer(
        machine,
        speed=given.speed,
        instant=given.instant,
        key=given.key,
        models=given.models.split(","),
        metrics=not given.no_metrics,
        records=not given.no_records,
        port=given.port,
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with server:
        print(server.url, flush=True)
        await ended.wait()


asyncio.run(main())
