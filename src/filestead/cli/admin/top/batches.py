"""The parts of the page about batches and model servers; both are empty where there are none."""

from collections.abc import Iterator

from filestead.cli.admin.top.formats import duration, rate_text, table
from filestead.cli.admin.top.readings import Change

LANES = 12
QUANTILES = (0.5, 0.95)


def batches(change: Change) -> Iterator[str]:
    """Yield batches by status, the lines that end, and how much time there is."""
    rows: list[tuple[str, ...]] = [("BATCHES", "NUMBER", "OLDEST")]
    for own, count in change.now.series("batches"):
        oldest = change.now.total("batches_oldest_seconds", **own)
        rows.append((own["status"], f"{count:.0f}", duration(oldest)))
    rates = change.rates_by("outcome", "batch_lines_total")
    if len(rows) == 1 and not rates:
        return
    yield from table(rows)
    ended = "  ".join(f"{outcome} {rate_text(rate)}" for outcome, rate in rates.items())
    yield f"lines  left {change.now.total('batch_lines_left'):,.0f}  {ended}".rstrip()
    times = {"slowest": "batch_remaining", "deadline": "batch_deadline", "to spare": "batch_slack"}
    known = {text: _value(change, f"{name}_seconds") for text, name in times.items()}
    if any(value is not None for value in known.values()):
        yield "time  " + "  ".join(f"{text} {duration(value)}" for text, value in known.items())
    retries = change.rates_by("cause", "batch_retries_total")
    if retries:
        yield "retries  " + "  ".join(f"{cause} {rate_text(rate)}" for cause, rate in retries.items())
    if paused := change.now.total("batches_paused"):
        yield f"!! batches that pause, because their results cannot be stored: {paused:.0f}"


def upstreams(change: Change) -> Iterator[str]:
    """Yield the requests to model servers, by model, and which of them are paused."""
    rows: list[tuple[str, ...]] = [
        ("MODEL SERVER", "MODEL", "IN FLIGHT", "LIMIT", "RATE", "P50", "P95", "TOKENS", "CACHED")
    ]
    lanes = sorted(
        change.now.series("upstream_limit"), key=lambda item: -change.rate("upstream_request_seconds_count", **item[0])
    )
    for own, limit in lanes[:LANES]:
        times = (change.quantile(share, "upstream_request", outcome="ok", **own) for share in QUANTILES)
        prompts = change.increase("upstream_input_tokens_total", **own)
        cached = change.increase("upstream_cached_tokens_total", **own)
        rows.append(
            (
                *(
                    own["upstream"],
                    own["model"],
                    f"{change.now.total('upstream_in_flight', **own):.0f}",
                    f"{limit:.0f}",
                ),
                *(rate_text(change.rate("upstream_request_seconds_count", **own)), *map(duration, times)),
                rate_text(change.rate("upstream_output_tokens_total", **own)),
                f"{cached / prompts:.0%}" if prompts else "-",
            )
        )
    if len(rows) > 1:
        yield from table(rows)
    for own, is_open in change.now.series("upstream_breaker_open"):
        if is_open:
            yield f"!! the model server {own['upstream']} cannot be reached"
    for own, models in change.now.series("upstream_paused_models"):
        if models:
            yield f"!! the model server {own['upstream']} refuses the key or the model; models: {models:.0f}"


def _value(change: Change, name: str) -> float | None:
    """The value of a metric without labels; None if it is missing."""
    return next((value for _, value in change.now.series(name)), None)
