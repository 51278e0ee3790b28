"""Alerts and dashboard: every name, label and value in them is one that the server exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from filestead.domain.jobs import JobKind
from filestead.metrics.table import METRICS, Kind, Metric
from filestead.settings import Settings, variable

ROOT = Path(__file__).parents[2]
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus-alerts.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""


def metric_of(name: str) -> Metric:
    """The metric of a series; those of a histogram have suffixes, without which it must not be used."""
    base = re.sub("_(bucket|sum|count)$", "", name)
    if base in METRICS and METRICS[base].kind is Kind.HISTOGRAM:
        assert base != name, f"{name} is a histogram"
        return METRICS[base]
    assert name in METRICS, f"there is no metric {name}"
    return METRICS[name]


def expressions() -> Iterator[tuple[str, str]]:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_expressions_use_what_is_exported(name: str, expression: str) -> None:
    found = re.findall(r"(filestead_\w+)(?:\{([^}]*)\})?", expression)
    assert found
    labels: set[str] = set()
    for series, matchers in found:
        metric = metric_of(series)
        labels |= {*metric.labels, "le"} if metric.buckets else {*metric.labels}
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert used <= {*metric.labels, *SCRAPED}, series
        if metric.kind is Kind.COUNTER or metric.buckets:
            assert re.search(rf"(?:rate|increase)\({series}", expression) or "worker_starts" in series, series
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", group)) <= labels | SCRAPED, group
    assert expression.count("(") == expression.count(")")


def test_values_of_labels_exist() -> None:
    text = json.dumps([expression for _, expression in expressions()])
    assert set(re.findall(r'state=\\"(\w+)', text)) <= {"due", "delayed", "running", "dead"}
    assert set(re.findall(r'kind=\\"(\w+)', text)) <= {*JobKind, "blobs", "files"}


def test_legends_name_labels_of_their_expressions() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                series = [metric_of(name) for name in re.findall(r"filestead_\w+", target["expr"])]
                assert label in SCRAPED or any(label in metric.labels for metric in series), panel["title"]


def test_every_metric_is_on_the_dashboard() -> None:
    text = json.dumps(DASHBOARD)
    assert [name for name in METRICS if name not in text] == []


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["targets"]
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used - {"__rate_interval"} <= variables


def test_alerts_say_what_is_wrong() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")


@pytest.mark.parametrize("name", ["Caddyfile", "traefik.yml", "prometheus.yml", "nginx.conf"])
def test_configurations_name_settings_that_exist_with_their_values(name: str) -> None:
    text = (ROOT / "deploy" / name).read_text()
    for found, value in re.findall(r"(FILESTEAD_\w+)(?: \((\d+)\))?", text):
        fields = {variable(field): Settings.model_fields[field] for field in Settings.model_fields}
        assert found in fields
        assert not value or float(value) == fields[found].default
    if name.endswith(".yml"):
        assert list(yaml.safe_load_all(text))
