"""LiteLLM's proxy, if `LITELLM_PYTHON` names a Python that has `litellm[proxy]`."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from bench.peers import running
from bench.plan import Bench, CannotMeasure
from tests.support.ports import free_port
from tests.support.servers import KEY

PYTHON = "LITELLM_PYTHON"


def environment() -> dict[str, str]:
    """Of a program that uses LiteLLM, which would otherwise fetch a list of prices."""
    return os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


@contextlib.contextmanager
def litellm_proxy(
    bench: Bench,
    configuration: str,
    ask: Callable[[str], object],
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[str | None]:
    """The base URL of a proxy whose key is `KEY`. None without the variable, and if no `ask` succeeds within a minute.

    `variables` are those of its environment. If it does not start that is reported, and the rest goes on.
    """
    python = os.environ.get(PYTHON)
    if not python:
        yield None
        return
    file = bench.directory / "litellm.yaml"
    file.write_text(f"{configuration}general_settings: {{master_key: {KEY}}}\n")
    port = free_port()
    base_url = f"http://127.0.0.1:{port}/v1"
    program = Path(python).with_name("litellm")
    command = [str(program), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    output = bench.directory / "litellm.log"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                running("LiteLLM's proxy", command, environment() | variables, output, lambda: ask(base_url))
            )
        except CannotMeasure as error:
            bench.progress(str(error))
            yield None
        else:
            yield base_url
