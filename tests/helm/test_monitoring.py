"""The chart's objects for Prometheus and Grafana: rules and dashboards as plain files, unchanged."""

import json
from typing import Any

import pytest
import yaml

from tests.helm.charts import CHART, render, the

RULES = CHART / "rules" / "brain-tumor.yaml"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
LABEL = {"release": "kube-prometheus-stack"}


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
    assert rule["spec"] == {"groups": yaml.safe_load(RULES.read_text())["groups"]}
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
