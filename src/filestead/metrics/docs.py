"""The content of docs/metrics.md."""

from collections.abc import Iterator

from filestead.metrics.batch_observer import MAX_MODELS
from filestead.metrics.table import OTHER, SECTIONS, Kind, Metric

INTRODUCTION = f"""# Metrics

`GET /metrics` returns these metrics as Prometheus text. [operate.md](operate.md#metrics-and-log) shows how to enable
it. `make docs` writes this page.

- The values of all processes of one server (`--workers`) are merged. A process that dies loses no counts. Counters
  start at zero when the server starts.
- Metrics of the installation are read from its database when they are requested, at most every 5 seconds. All nodes
  return the same values: aggregate them with `max`, not with `sum`.
- Every metric has a bounded number of series. What exceeds the bound is recorded with `{OTHER}` in every label.
- Labels contain no keys, file names, file ids, addresses or users. `route` is the template of a path, as in
  `/v1/files/{{file_id}}`; `none` stands for paths that do not exist. `project` is the id of a project.
- `upstream` is the name of a model server in the configuration, with `/1`, `/2` and so on if it has several addresses.
  `model` is what lines name: the first 64 characters, for the first {MAX_MODELS} models of which a request has
  succeeded, and `{OTHER}` for all others.
- Durations are seconds, sizes bytes.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *(line for name, rows in SECTIONS.items() for line in _section(name, rows))])


def _section(name: str, metrics: tuple[Metric, ...]) -> Iterator[str]:
    yield from (f"## {name}", "", "| metric | type | labels | meaning |", "| --- | --- | --- | --- |")
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help}{_bounds(metric)} |"
    yield ""


def _bounds(metric: Metric) -> str:
    if metric.kind is not Kind.HISTOGRAM:
        return ""
    return f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}."
