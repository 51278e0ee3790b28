"""The page that `filestead top` shows: lines of text from the change between two readings."""

from collections.abc import Iterator

from filestead.cli.admin.top.batches import batches, upstreams
from filestead.cli.admin.top.formats import duration, rate_text, size, table
from filestead.cli.admin.top.readings import Change

ROUTES = 12
PROJECTS = 5
REASONS = 5
QUANTILES = (0.5, 0.95)


def page(change: Change, title: str) -> list[str]:
    """Return the lines, each of any length."""
    sections = (
        *(_overview(change), _routes(change), _storage(change), _work(change)),
        *(batches(change), upstreams(change), _projects(change)),
    )
    lines = [_title(change, title)]
    for section in map(list, sections):
        lines += ["", *section] if section else []
    return lines


def _title(change: Change, title: str) -> str:
    build = next((own for own, _ in change.now.series("build_info")), {})
    memory = change.now.total("worker_memory_bytes")
    processes = sum(1 for _ in change.now.series("worker_starts_total"))
    cpu = change.rate("worker_cpu_seconds_total")
    what = " ".join(build.get(name, "") for name in ("version", "installation", "role"))
    return f"Filestead {what}  {title}  processes {processes}  memory {size(memory)}  cpu {cpu:.0%}"


def _overview(change: Change) -> Iterator[str]:
    failed = sum(rate for status, rate in change.rates_by("status", "requests_total").items() if status >= "500")
    yield f"requests {rate_text(change.rate('requests_total'))}  5xx {rate_text(failed)}"
    uploads, downloads = (change.now.total("transfers_in_flight", direction=name) for name in ("upload", "download"))
    yield (
        f"received {size(change.rate('received_bytes_total'))}/s  sent {size(change.rate('sent_bytes_total'))}/s  "
        f"uploads {uploads:.0f}  downloads {downloads:.0f}"
    )
    reasons = list(change.rates_by("reason", "refusals_total").items())[:REASONS]
    if reasons:
        yield "refused  " + "  ".join(f"{reason} {rate_text(rate)}" for reason, rate in reasons)


def _routes(change: Change) -> Iterator[str]:
    rates: dict[tuple[str, str], float] = {}
    for method in change.rates_by("method", "requests_total"):
        for route, rate in change.rates_by("route", "requests_total", method=method).items():
            rates[method, route] = rate
    rows: list[tuple[str, ...]] = [("METHOD", "ROUTE", "RATE", "P50", "P95")]
    for (method, route), rate in sorted(rates.items(), key=lambda item: -item[1])[:ROUTES]:
        times = (change.quantile(share, "request", method=method, route=route) for share in QUANTILES)
        rows.append((method, route, rate_text(rate), *map(duration, times)))
    yield from table(rows)


def _storage(change: Change) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("STORAGE", "", "RATE", "P50", "P95")]
    for name, label in (("database", "operation"), ("blob_store", "operation"), ("sync", "kind")):
        for value, rate in change.rates_by(label, f"{name}_seconds_count").items():
            times = (change.quantile(share, name, **{label: value}) for share in QUANTILES)
            rows.append((name.replace("_", " "), value, rate_text(rate), *map(duration, times)))
    yield from table(rows)
    states = {
        "the database cannot be read": not change.now.total("database_up"),
        "the circuit breaker of the blob store is open": bool(change.now.total("blob_store_breaker_open")),
        "the blob store is unhealthy: uploads are rejected": bool(change.now.total("blob_store_unhealthy")),
    }
    yield from (f"!! {text}" for text, holds in states.items() if holds)


def _work(change: Change) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("JOBS", "STATE", "NUMBER", "OLDEST")]
    for own, count in change.now.series("jobs"):
        oldest = change.now.total("jobs_oldest_seconds", **own)
        rows.append((own["kind"], own["state"], f"{count:.0f}", duration(oldest)))
    for kind, rate in change.rates_by("kind", "job_seconds_count", outcome="done").items():
        rows.append((kind, "done", rate_text(rate), ""))
    for own, count in change.now.series("sweep_backlog"):
        oldest = change.now.total("sweep_backlog_age_seconds", **own)
        rows.append((f"sweep {own['kind']}", "due", f"{count:.0f}", duration(oldest)))
    yield from table(rows)


def _projects(change: Change) -> Iterator[str]:
    quota = change.now.total("project_quota_bytes")
    found = sorted(change.now.series("project_used_bytes"), key=lambda item: -item[1])[:PROJECTS]
    rows: list[tuple[str, ...]] = [("PROJECT", "USED", "OF QUOTA")]
    for own, used in found:
        share = "-" if not quota or own["project"] == "other" else f"{used / quota:.1%}"
        rows.append((own["project"], size(used), share))
    yield from table(rows)
