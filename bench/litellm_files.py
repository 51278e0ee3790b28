"""The file route of LiteLLM's proxy, which keeps no files itself: here it hands them to Filestead.

It is the only other way, of those that run on one's own machines, by which several applications share `/v1/files`.
"""

import os

import httpx2

from bench.litellm_proxy import PYTHON, litellm_proxy
from bench.load import CONNECTIONS, wrk
from bench.nginx import Nginx
from bench.peers import SLOW_SECONDS, rates_row
from bench.plan import Bench, CannotMeasure
from bench.report import Row
from bench.requests import form, turns, upload_for
from tests.support.servers import KEY

AGAINST = "through LiteLLM's proxy"


def measure_litellm_files(bench: Bench, _: Nginx | None) -> list[Row]:
    """Durable uploads of 1 KB, and retrieving one file object, directly and through the proxy, in turns."""
    if not os.environ.get(PYTHON):
        raise CannotMeasure(f"set {PYTHON} to a Python that has LiteLLM (pip install 'litellm[proxy]')")
    body, answers = form(bench), bench.directory / "answers"
    uploads: list[tuple[float, float]] = []
    reads: list[tuple[float, float]] = []
    with bench.filestead() as server:
        path = f"/files/{server.upload(b'x')['id']}"
        provider = f"{{custom_llm_provider: openai, api_base: '{server.base_url}', api_key: {KEY}}}"
        # It uploads with the settings of its file, and reads with those of its environment.
        variables = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_BASE": server.base_url, "OPENAI_API_KEY": KEY}

        def ask(url: str) -> None:
            httpx2.get(f"{url}{path}", headers={"Authorization": f"Bearer {KEY}"}, timeout=30).raise_for_status()

        with litellm_proxy(bench, f"files_settings:\n  - {provider}\n", ask, variables) as url:
            if url is None:
                raise CannotMeasure("LiteLLM's proxy does not start")
            for seconds in turns(bench):
                theirs = upload_for(url, seconds, body, answers, slow=SLOW_SECONDS)
                uploads.append((upload_for(server.base_url, seconds, body, answers), theirs))
                read = wrk(f"{url}{path}", seconds, slow=SLOW_SECONDS).rate
                reads.append((wrk(f"{server.base_url}{path}", seconds).rate, read))
    return [
        rates_row(f"durable 1 KB uploads, {CONNECTIONS} at once", uploads, AGAINST),
        rates_row(f"GET /v1/files/{{id}}, {CONNECTIONS} at once", reads, AGAINST),
    ]
