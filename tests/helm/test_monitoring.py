"""The chart's objects for Prometheus and Grafana: rules and dashboards as plain files, with the release's name added."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.charts import CHART, render, the
from tests.tools import tool

RULES = CHART / "rules" / "brain-tumor.yaml"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
LABEL = {"release": "kube-prometheus-stack"}
REPLICAS = ("kube_deployment_spec_replicas", "kube_deployment_status_replicas_available")
LONG = 53 * "r"
every_name = pytest.mark.parametrize(
    ("release", "value", "name"),
    [
        ("page", "fullnameOverride=readers", "readers"),
        ("page", "nameOverride=viewer", "page-viewer"),
        (LONG, "replicaCount=2", f"{LONG}-brain-tum"),
        ("page", "replicaCount=2", "page-brain-tumor-ui"),
    ],
)


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return render(values=CHART / "ci" / "monitoring-values.yaml")


def test_service_monitor_selects_the_service_and_its_port(objects: list[dict[str, Any]]) -> None:
    monitor, service = the("ServiceMonitor", objects), the("Service", objects)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"] == [{"port": "metrics", "interval": "15s"}]
    assert "metrics" in {port["name"] for port in service["spec"]["ports"]}
    assert LABEL.items() <= monitor["metadata"]["labels"].items()


def test_prometheus_rule_has_the_groups_of_the_file(objects: list[dict[str, Any]]) -> None:
    rule = the("PrometheusRule", objects)
    assert the("PrometheusRule", render("prometheusRule.enabled=true"))["spec"] == {
        "groups": yaml.safe_load(RULES.read_text())["groups"]
    }
    rules = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    assert any("{{ $" in text for each in rules for text in each.get("annotations", {}).values())
    assert LABEL.items() <= rule["metadata"]["labels"].items()


def test_each_dashboard_is_a_uniquely_named_file_that_the_sidecar_selects(objects: list[dict[str, Any]]) -> None:
    maps = {each["metadata"]["name"]: each for each in objects if each["kind"] == "ConfigMap"}
    assert {path.stem for path in DASHBOARDS} == {"service", "model", "page"}
    assert set(maps) == {f"page-brain-tumor-ui-{path.stem}" for path in DASHBOARDS}
    for path in DASHBOARDS:
        found = maps[f"page-brain-tumor-ui-{path.stem}"]
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((key, content),) = found["data"].items()
        assert key == f"page-brain-tumor-ui-{path.name}"
        assert json.loads(content) == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("switch", "kind"),
    [("serviceMonitor", "ServiceMonitor"), ("prometheusRule", "PrometheusRule"), ("dashboards", "ConfigMap")],
)
def test_each_is_enabled_separately(switch: str, kind: str) -> None:
    off, on = render(), render(f"{switch}.enabled=true")
    assert {each["kind"] for each in on} - {each["kind"] for each in off} == {kind}


@every_name
def test_page_that_is_down_fires_whatever_its_name(release: str, value: str, name: str, tmp_path: Path) -> None:
    rules = page_rules(release, value)
    wanted, available = (f'{metric}{{namespace="models", deployment="{name}"}}' for metric in REPLICAS)
    others = {f'{REPLICAS[1]}{{namespace="models", deployment="other-brain-tumor-ui"}}': "1x60"}
    labels = {"namespace": "models", "deployment": name}
    check_firing(rules, others | {wanted: "2x60", available: "2x60"}, [], tmp_path)
    check_firing(
        rules, others | {wanted: "2x60", available: "2x5 0x55"}, [{"alertname": "BrainTumorPageDown"} | labels], tmp_path
    )
    ticket = {"alertname": "BrainTumorPageReplicasMissing"} | labels
    check_firing(rules, others | {wanted: "2x60", available: "2x5 1x55"}, [ticket], tmp_path)


@every_name
def test_page_that_is_down_fires_without_kube_state_metrics(release: str, value: str, name: str, tmp_path: Path) -> None:
    rules = page_rules(release, value)
    alert = {"alertname": "BrainTumorPageDown", "namespace": "models", "job": name}
    other = {f'up{{namespace="staging", job="{name}", instance="c"}}': "1x60"}
    check_firing(rules, other, [alert], tmp_path)
    for samples, fires in (
        ("1x60", False),
        ("1x5 0x55", True),
        ("1x5 stale _x54", True),
        ("_x5 0x55", True),
        ("_x10 1x50", False),
    ):
        target = {f'up{{namespace="models", job="{name}", instance="a"}}': samples}
        check_firing(rules, other | target, [alert] if fires else [], tmp_path)


@pytest.mark.parametrize("name", ["page-brain-tumor-ui", "readers"])
def test_page_of_which_no_pod_is_wanted_is_not_down(name: str, tmp_path: Path) -> None:
    rules = page_rules("page", "replicaCount=0", f"fullnameOverride={name}")
    target = {f'up{{namespace="models", job="{name}", instance="a"}}': "1x5 stale _x54"}
    replicas = {f'{metric}{{namespace="models", deployment="{name}"}}': "1x5 0x55" for metric in REPLICAS}
    check_firing(rules, target, [], tmp_path)
    check_firing(rules, target | replicas, [], tmp_path)
    other = {'up{namespace="models", job="other-brain-tumor-ui", instance="b"}': "1x5 0x55"}
    alert = {"alertname": "BrainTumorPageDown", "namespace": "models", "job": "other-brain-tumor-ui"}
    check_firing(rules, target | other, [alert], tmp_path)


def test_page_without_a_service_monitor_is_not_missed(tmp_path: Path) -> None:
    check_firing(the("PrometheusRule", render("prometheusRule.enabled=true"))["spec"], {"up": "1x60"}, [], tmp_path)


def test_dashboard_finds_the_page_whatever_its_name() -> None:
    objects = render("dashboards.enabled=true", "fullnameOverride=readers")
    (content,) = next(each for each in objects if each["metadata"]["name"] == "readers-page")["data"].values()
    queries = [target["expr"] for panel in json.loads(content)["panels"] for target in panel.get("targets", [])]
    assert sum('deployment=~".*brain-tumor-ui.*|readers"' in query for query in queries) == 2
    assert sum('pod=~".*brain-tumor-ui-.*|readers-.*"' in query for query in queries) == 1


def page_rules(release: str, *sets: str) -> dict[str, Any]:
    """Return the groups of a release in namespace `models`, scraped by Prometheus."""
    enabled = ("prometheusRule.enabled=true", "serviceMonitor.enabled=true")
    return the("PrometheusRule", render(*sets, *enabled, release=release, options=["--namespace=models"]))["spec"]


def check_firing(rules: dict[str, Any], series: dict[str, str], alerts: list[dict[str, str]], folder: Path) -> None:
    """Let promtool check which alerts on web pages fire after half an hour, by `alertname` and labels without the severity."""
    severities = {"BrainTumorPageDown": "page", "BrainTumorPageReplicasMissing": "ticket"}
    query = f'ALERTS{{alertname=~"{"|".join(severities)}", alertstate="firing"}}'
    expected = [alert | {"alertstate": "firing", "severity": severities[alert["alertname"]]} for alert in alerts]
    shown = [", ".join(f'{label}="{value}"' for label, value in labels.items()) for labels in expected]
    samples = [{"labels": f"ALERTS{{{labels}}}", "value": 1} for labels in shown]
    test = {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": "30m", "exp_samples": samples}],
    }
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    (folder / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]})
    )
    done = subprocess.run([tool("promtool"), "test", "rules", folder / "test.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, f"{series}: {done.stdout}{done.stderr}"
