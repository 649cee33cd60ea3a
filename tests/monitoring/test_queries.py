"""The queries of dashboards and rules on a real Prometheus that has scraped the real services."""

import math

import numpy as np
import pytest

from brain_tumor.images import MAX_PIXELS, read_image
from tests.monitoring.conftest import HELD_OUT, IMAGES, ROUND, Prometheus
from tests.monitoring.promql import dashboard_queries, fill_in, parse, rule_name, rules, unit_tests

CLUSTER = {
    "kube_deployment_spec_replicas": {"deployment"},
    "kube_deployment_status_replicas_available": {"deployment"},
    "kube_pod_container_status_restarts_total": {"pod", "container"},
    ":tensorflow:serving:request_count": {"model_name", "status"},
    ":tensorflow:serving:request_latency_bucket": {"model_name", "API", "entrypoint", "le"},
    ":tensorflow:serving:runtime_latency_bucket": {"model_name", "API", "runtime", "le"},
}
"""Metrics of kube-state-metrics and TensorFlow Serving, which do not run here: their queries have unit tests instead."""

QUERIES = dashboard_queries()
EXPRESSIONS = QUERIES | {f"rule: {rule_name(rule)}": rule["expr"] for rule in rules()}


def unknown_names(text: str, prometheus: Prometheus) -> set[str]:
    """Return an expression's metrics and labels that nothing exports; only a cluster adds `namespace`."""
    expression = parse(text)
    exported = {metric: CLUSTER.get(metric) or prometheus.labels(metric) for metric in expression.metrics}
    unknown = {metric for metric, labels in exported.items() if not labels}
    for metric, compared in expression.metrics.items():
        unknown |= {f"{metric}{{{label}}}" for label in set(compared) - exported[metric] - {"namespace"}}
    return unknown | (expression.grouping - set().union(*exported.values()) - {"namespace"})


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("sum by (route) (rate(brain_tumor_requests_total[5m]))", set()),
        ("sum by (namespace, route) (rate(brain_tumor_request_total[5m]))", {"brain_tumor_request_total", "route"}),
        ('rate(brain_tumor_requests_total{status=~"5.."}[5m]) > 0', {"brain_tumor_requests_total{status}"}),
        ("sum by (le, stages) (rate(brain_tumor_stage_seconds_bucket[5m]))", {"stages"}),
        ("up * on (instance, zone) group_left (version) brain_tumor_model_info", {"zone"}),
        ('kube_deployment_spec_replicas{deploy="a"} or up', {"kube_deployment_spec_replicas{deploy}"}),
        ("namespace:brain_tumor_errors:ratio_rate5m / 0.005 > bool 14.4 and 1e3 < scalar(up)", set()),
        ("namespace:brain_tumor_errors:ratio_rate10m", {"namespace:brain_tumor_errors:ratio_rate10m"}),
    ],
)
def test_unknown_metric_or_label_is_detected(text: str, unknown: set[str], prometheus: Prometheus) -> None:
    assert unknown_names(text, prometheus) == unknown


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_metric_and_label_is_exported(name: str, prometheus: Prometheus) -> None:
    assert unknown_names(fill_in(EXPRESSIONS[name]), prometheus) == set()


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_of_a_dashboard_returns_data(name: str, prometheus: Prometheus) -> None:
    metrics = set(parse(QUERIES[name]).metrics)
    if metrics <= set(CLUSTER):
        tested = [case["expr"] for test in unit_tests() for case in test.get("promql_expr_test", []) if case["exp_samples"]]
        assert QUERIES[name] in tested
        return
    assert not metrics & set(CLUSTER)
    values = [float(series["value"][1]) for series in prometheus.query(QUERIES[name])]
    assert values
    assert any(math.isfinite(value) for value in values)


def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    assert {rule["name"]: rule["health"] for rule in prometheus.rules()} == {rule_name(rule): "ok" for rule in rules()}


def test_outage_fires_the_alerts(prometheus: Prometheus) -> None:
    states = {rule["name"]: rule["state"] for rule in prometheus.rules() if rule["type"] == "alerting"}
    assert states["BrainTumorErrorsFastBurn"] == "firing"
    assert states["BrainTumorNoReadyReplica"] in {"pending", "firing"}
    assert states["BrainTumorLatencyFastBurn"] == states["BrainTumorMetricsMissing"] == "inactive"


def test_drift_is_the_largest_distance_between_the_two_distributions(prometheus: Prometheus) -> None:
    """Compare with the Kolmogorov-Smirnov distance of sent and held-out images, computed here."""
    images = [read_image(data, MAX_PIXELS) for data in IMAGES]
    sent = {
        "brightness": np.repeat([image.brightness for image in images], ROUND),
        "side_pixels": np.repeat([max(image.width_px, image.height_px) for image in images], ROUND),
    }
    for feature, held_out in (("brightness", HELD_OUT[0]), ("side_pixels", HELD_OUT[1])):
        shares = prometheus.query(f'brain_tumor_reference_share{{feature="{feature}"}}')
        bounds = [float(series["metric"]["le"]) for series in shares]
        expected = max(abs((sent[feature] <= bound).mean() - (held_out <= bound).mean()) for bound in bounds)
        (recorded,) = prometheus.query(f'namespace_feature:brain_tumor_drift:distance1d{{feature="{feature}"}}')
        assert expected > 0.2
        assert float(recorded["value"][1]) == pytest.approx(expected, abs=0.05)  # the web page sent one more image
