"""What model servers say of their load at `/metrics`, in the text format of Prometheus."""

import contextlib
import re

from filestead.inference.limiter import Load

RUNNING = ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing")
WAITING = ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred")
CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage", "llamacpp:kv_cache_usage_ratio")

_SAMPLE = re.compile(
    r"^(" + "|".join(map(re.escape, (*RUNNING, *WAITING, *CACHE))) + r")(?:\{[^\n]*\})?[ \t]+([0-9.eE+-]+)",
    re.MULTILINE,
)


def load_of(text: str) -> Load | None:
    """The load of a server, over all its models and ranks; None if it says nothing that is known."""
    samples: dict[str, list[float]] = {}
    for name, value in _SAMPLE.findall(text):
        with contextlib.suppress(ValueError):
            found = float(value)
            samples.setdefault(name, []).append(found)
    if not samples:
        return None
    return Load(
        running=_first(RUNNING, {name: sum(values) for name, values in samples.items()}),
        waiting=_first(WAITING, {name: sum(values) for name, values in samples.items()}),
        cache=_first(CACHE, {name: max(values) for name, values in samples.items()}),
        server=next(iter(samples)).partition(":")[0],
    )


def _first(names: tuple[str, ...], values: dict[str, float]) -> float | None:
    return next((values[name] for name in names if name in values), None)
