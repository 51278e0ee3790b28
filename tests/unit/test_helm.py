"""The Helm chart: rendered by Helm's own engine, validated against the schemas of Kubernetes, and its command started."""

import copy
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from filestead import __version__
from filestead.api.routes import OPERATIONS
from filestead.settings import Settings, variable
from tests.support.installations import clean_environment
from tests.support.ports import free_port

try:
    import helm_python as helm
    import kubernetes_validate
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip("NO HELM ENGINE (`make install`): the chart was NOT RENDERED", allow_module_level=True)

CHART = Path(__file__).parents[2] / "deploy/helm/filestead"
KUBERNETES = ("1.30", "1.37")
VARIABLES = {variable(name) for name in Settings.model_fields} | {"FILESTEAD_CONFIG", "TMPDIR"}
SHARED: dict[str, Any] = {
    "settings": {"FILESTEAD_BLOB_URL": "s3://bucket/prefix"},
    "secretVariables": {"FILESTEAD_DATABASE_URL": {"name": "postgres", "key": "uri"}},
}
EVERYTHING: dict[str, Any] = {
    "config": '[[upstreams]]\nname = "gpu"\nurl = "http://models:8000/v1"\n',
    "secretFiles": [{"name": "model-keys", "mountPath": "/run/secrets/models"}],
    "ingress": {"enabled": True, "host": "files.example.org", "tlsSecret": "tls", "className": "nginx"},
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "imagePullSecrets": [{"name": "registry"}],
    "image": {"digest": f"sha256:{'0' * 64}"},
    "serviceAccount": {"annotations": {"role": "files"}},
}
PLACED = {
    "nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "files", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}}, "podAnnotations": {"a": "b"}, "resources": {},
}  # fmt: skip
CASES = {
    "shared": SHARED,
    "embedded": {"profile": "embedded"},
    "no workers": SHARED | {"worker": {"enabled": False}},
    "no metrics": SHARED | {"metrics": {"enabled": False}},
    "everything, shared": SHARED | EVERYTHING | {"api": PLACED, "worker": PLACED},
    "everything, embedded": EVERYTHING | {"profile": "embedded", "api": PLACED, "persistence": {"storageClassName": "fast"}},
}  # fmt: skip
Objects = dict[tuple[str, str], dict[str, Any]]


def render(values: dict[str, Any]) -> Objects:
    """The objects by kind and name."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name="demo", namespace="files")
    documents = [each for name, text in files.items() if name.endswith(".yaml") for each in yaml.safe_load_all(text)]
    found = {(each["kind"], each["metadata"]["name"]): each for each in documents if each}
    assert len(found) == len([each for each in documents if each]), "two objects have one name"
    return found


@pytest.fixture(scope="module", params=CASES)
def objects(request: pytest.FixtureRequest) -> Objects:
    return render(CASES[request.param])


def pods(objects: Objects) -> Iterator[dict[str, Any]]:
    for (kind, _), each in objects.items():
        if kind in {"Deployment", "StatefulSet"}:
            yield each["spec"]["template"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "(secret)") for each in container["env"]}


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_helm_finds_no_fault(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


def test_kubernetes_takes_the_objects(objects: Objects) -> None:
    validate(objects, KUBERNETES[-1])


def test_the_oldest_kubernetes_takes_the_objects() -> None:
    """All of `values.yaml` that the newest takes."""
    for name in ("everything, shared", "everything, embedded"):
        validate(render(CASES[name]), KUBERNETES[0])


def validate(objects: Objects, version: str) -> None:
    for (kind, _), each in objects.items():
        if kind != "ServiceMonitor":  # of an extension, whose schema no registry has
            kubernetes_validate.validate(each, version, strict=True)


def test_a_wrong_object_is_found() -> None:
    """The schemas do refuse what is wrong."""
    wrong = copy.deepcopy(render(SHARED)["Deployment", "demo-filestead-api"])
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


def test_pods_run_with_the_fewest_rights(objects: Objects) -> None:
    for pod in pods(objects):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        for each in containers(pod):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip


def test_pods_start_what_there_is(objects: Objects) -> None:
    served = {operation.path for operation in OPERATIONS if operation.access == "public"}
    for pod in pods(objects):
        (node,) = pod["spec"]["containers"]
        for each in containers(pod):
            own = {name for name in environment(each) if not name.startswith("AWS_")}
            assert own <= VARIABLES
            writable = {one["mountPath"] for one in each["volumeMounts"] if not one.get("readOnly")}
            assert writable == {"/data"}
            assert environment(each)["FILESTEAD_DATA_DIR"].startswith("/data/"), "a volume may have a lost+found"
            volumes = {one["name"] for one in pod["spec"].get("volumes", [])} | {"data"}
            assert {one["name"] for one in each["volumeMounts"]} == volumes
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert node[probe]["httpGet"]["path"] in served
        grace = pod["spec"]["terminationGracePeriodSeconds"] - node["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert grace > Settings.model_fields["shutdown_seconds"].default
        assert node["image"].startswith(("filestead@sha256:", f"filestead:{__version__}"))


def test_selectors_and_ports_meet(objects: Objects) -> None:
    templates = [pod["metadata"]["labels"] for pod in pods(objects)]
    ports = [{one["name"] for one in pod["spec"]["containers"][0]["ports"]} for pod in pods(objects)]

    def chosen(selector: dict[str, str]) -> list[int]:
        return [number for number, labels in enumerate(templates) if selector.items() <= labels.items()]

    for (kind, name), each in objects.items():
        if kind == "Service":
            behind = chosen(each["spec"]["selector"])
            assert behind == (list(range(len(templates))) if name.endswith("metrics") else [0]), name
            assert all(one["targetPort"] in ports[number] for one in each["spec"]["ports"] for number in behind)
        elif kind in {"Deployment", "StatefulSet", "PodDisruptionBudget"}:
            assert len(chosen(each["spec"]["selector"]["matchLabels"])) == 1
        elif kind == "ServiceMonitor":
            watched = objects["Service", "demo-filestead-metrics"]
            assert each["spec"]["selector"]["matchLabels"].items() <= watched["metadata"]["labels"].items()
            assert each["spec"]["endpoints"][0]["port"] == watched["spec"]["ports"][0]["name"]
        elif kind == "Ingress":
            backend = each["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
            assert backend["port"]["name"] == objects["Service", backend["name"]]["spec"]["ports"][0]["name"]


def test_roles_and_objects_of_the_profiles() -> None:
    def roles(values: dict[str, Any]) -> list[str]:
        return [environment(pod["spec"]["containers"][0])["FILESTEAD_ROLE"] for pod in pods(render(values))]

    assert roles(CASES["shared"]) == ["api", "worker"]
    assert roles(CASES["no workers"]) == ["all"]
    assert roles(CASES["embedded"]) == ["all"]
    embedded = render(CASES["embedded"])["StatefulSet", "demo-filestead"]["spec"]
    assert (embedded["replicas"], "initContainers" in embedded["template"]["spec"]) == (1, False)
    shared = render(CASES["shared"])
    assert {kind for kind, _ in shared} == {"Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}
    everything = render(CASES["everything, shared"])
    assert {kind for kind, _ in everything} == {kind for kind, _ in shared} | {"ConfigMap", "Ingress", "ServiceMonitor"}
    slow = SHARED | {"settings": SHARED["settings"] | {"FILESTEAD_SHUTDOWN_SECONDS": "300"}}
    assert {pod["spec"]["terminationGracePeriodSeconds"] for pod in pods(render(slow))} == {315}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "FILESTEAD_DATABASE_URL"),
        ({"secretVariables": SHARED["secretVariables"]}, "FILESTEAD_BLOB_URL"),
        (SHARED | {"profile": "embedded"}, "FILESTEAD_DATABASE_URL"),
        ({"profile": "cluster"}, "profile"),
        (SHARED | {"replicas": 3}, "replicas"),
        ({"profile": "embedded", "settings": {"FILESTEAD_BOOTSTRAP_KEY": "sk-secret"}}, "FILESTEAD_BOOTSTRAP_KEY"),
        ({"profile": "embedded", "settings": {"FILESTEAD_ROLE": "api"}}, "FILESTEAD_ROLE"),
        ({"profile": "embedded", "settings": {"FILESTEAD_WORKERS": 4}}, "string"),
        ({"profile": "embedded", "ingress": {"enabled": True}}, "host"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=named):
        render(values)


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert {*yaml.safe_load((CHART / "values.yaml").read_text())} <= {*schema["properties"]}


def test_what_the_pod_starts_serves_its_probes(tmp_path: Path) -> None:
    """The command and variables of the pod, on a volume as Kubernetes hands it over."""
    (pod,) = pods(render(CASES["embedded"]))
    (node,) = pod["spec"]["containers"]
    volume = tmp_path / "data"
    volume.mkdir()
    volume.chmod(0o2777)
    (volume / "lost+found").mkdir()
    ports = {"8080": free_port(), "9100": free_port()}
    variables = {name: value.replace("/data", str(volume)) for name, value in environment(node).items()}
    variables |= {name: str(ports[value]) for name, value in variables.items() if value in ports}
    process = subprocess.Popen(
        [sys.executable, "-m", "filestead.cli.main", *node["args"]], env=clean_environment() | variables,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        paths = [(8080, node[probe]["httpGet"]["path"]) for probe in ("livenessProbe", "readinessProbe")]
        for port, path in [*paths, (9100, "/metrics")]:
            assert status(ports[str(port)], path, process) == 200
    finally:
        process.terminate()
        log = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert "other users" not in log


def status(port: int, path: str, process: subprocess.Popen[str]) -> int:
    until = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                return int(response.status)
        except OSError:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
