"""An OpenAI-compatible model server for tests, with the physics of continuous batching, on a loopback port.

    async with ModelServer(Machine(knee=16), speed=10) as server:
        server.faults.append(Fault.busy(retry_after=2))
        ... requests to server.url ...
        assert server.requests[0].json["model"] == "m"

As a process: `python -m tests.support.model_server --port 0 --knee 16`; see `__main__.py`.
"""

from tests.support.model_server.faults import Fault, Received
from tests.support.model_server.physics import Machine
from tests.support.model_server.rates import Bucket, RateLimit
from tests.support.model_server.server import ModelServer

__all__ = ["Bucket", "Fault", "Machine", "ModelServer", "RateLimit", "Received"]
