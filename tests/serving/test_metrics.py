import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from brain_tumor.model_card import read_model_card
from serving.errors import CODES
from serving.metrics import Metrics
from tests.monitoring.promql import dashboard_queries, parse, rules
from tests.serving import clients
from tests.serving.clients import explain
from tests.serving.conftest import Transformer, transformer
from tests.serving.fake_predictor import running_fake_predictor

PREDICTION_ROUTES = ("/predict", f"{clients.V1}:predict", f"{clients.V1}:explain", clients.INFER)


def test_metrics_count_requests_predictions_and_errors(served: Transformer) -> None:
    def value(name: str, **labels: str) -> float:
        return sum(each for found, other, each in scrape(served) if found == name and labels.items() <= other.items())

    increments = {
        ("brain_tumor_requests_total", "route", "/predict"): 2,
        ("brain_tumor_requests_total", "code", "400"): 1,
        ("brain_tumor_request_seconds_count", "route", "/predict"): 2,
        ("brain_tumor_explain_seconds_count", "", ""): 1,
        ("brain_tumor_stage_seconds_count", "stage", "decode"): 1,
        ("brain_tumor_stage_seconds_count", "stage", "predictor"): 1,
        ("brain_tumor_stage_seconds_count", "stage", "render"): 1,
        ("brain_tumor_predictions_total", "label", "tumor"): 1,
        ("brain_tumor_rejected_total", "reason", "not_an_image"): 1,
        ("brain_tumor_warnings_total", "reason", "synthetic_model"): 1,
        ("brain_tumor_confidence_bucket", "le", "0.8"): 1,
        ("brain_tumor_in_distribution_bucket", "le", "0.9"): 0,
        ("brain_tumor_in_distribution_bucket", "le", "1.0"): 1,
        ("brain_tumor_input_brightness_count", "", ""): 1,
        ("brain_tumor_input_side_pixels_count", "", ""): 1,
    }
    before = {key: value(key[0], **({key[1]: key[2]} if key[1] else {})) for key in increments}
    assert explain(served.url).status_code == 200
    assert httpx.post(f"{served.url}/predict", files=clients.form(b"no image")).status_code == 400
    after = {key: value(key[0], **({key[1]: key[2]} if key[1] else {})) for key in increments}
    assert {key: after[key] - before[key] for key in increments} == increments
    assert value("brain_tumor_model_info", version="1") == 1
    assert value("brain_tumor_in_flight_requests") == 0


def test_explains_are_measured_apart_from_predictions_and_failures_count(tiny_model: Path) -> None:
    with running_fake_predictor() as fake, transformer(tiny_model, fake.host) as served:

        def count(le: str = "+Inf") -> float:
            samples = scrape(served)
            return next(
                value for name, labels, value in samples if name == "brain_tumor_explain_seconds_bucket" and labels["le"] == le
            )

        def form(**query: Any) -> int:
            return httpx.post(f"{served.url}/predict", files=clients.form(clients.PNG), params=query, timeout=30).status_code

        assert count() == 0
        assert form() == 200
        assert count() == 0
        fake.delay_seconds = 1.2
        assert form(explain=True) == 200
        assert (count(), count("1.0")) == (1, 0)
        fake.delay_seconds = 0
        infer = clients.infer(served.grpc, clients.infer_request([clients.PNG], explain=True))
        assert infer.model_name == "brain-tumor"
        assert (count(), count("1.0")) == (2, 1)
        assert httpx.post(f"{served.url}/predict?explain=true", files=clients.form(b"no image")).status_code == 400
        assert count() == 2
        fake.status = 500
        assert form(explain=True) >= 500
        assert count() == 3


def test_every_route_has_each_status_from_the_start(served: Transformer) -> None:
    """A counter that appears with its first failure shows no increase."""
    samples = scrape(served)
    requests = {(labels["route"], labels["code"]) for name, labels, _ in samples if name == "brain_tumor_requests_total"}
    durations = {labels["route"] for name, labels, _ in samples if name == "brain_tumor_request_seconds_bucket"}
    routes = {route.replace("brain-tumor", "{model_name}") for route in PREDICTION_ROUTES} | {"/model", "/v1/models", "other"}
    statuses = {"200"} | {str(int(status)) for status, _ in CODES.values()}
    assert {(route, status) for route in routes for status in statuses} <= requests
    assert {("ModelInfer", name) for name in {"OK"} | {status.name for _, status in CODES.values()}} <= requests
    assert {*routes, "ModelInfer"} <= durations
    assert durations.isdisjoint({"/metrics", "/healthz", "/readyz", "/"})


@pytest.mark.parametrize("metric", ["brain_tumor_requests_total", "brain_tumor_rejected_total"])
def test_every_label_value_of_rules_and_panels_is_exported_from_the_start(metric: str, served: Transformer) -> None:
    queries = [rule["expr"] for rule in rules()] + list(dashboard_queries().values())
    exported = [labels for name, labels, _ in scrape(served) if name == metric]
    compared = [parse(query).metrics.get(metric, {}).items() for query in queries]
    named = {(label, each) for items in compared for label, values in items for each in values if label != "namespace"}
    assert named
    for label, pattern in named:
        assert any(re.fullmatch(pattern, labels[label]) for labels in exported), f"{metric}{{{label}={pattern}}}"


def test_series_start_at_0(tiny_model: Path) -> None:
    registry = CollectorRegistry()
    Metrics(read_model_card(tiny_model), registry).declare_routes(["/predict"], ["200", "503"])
    samples = [sample for family in registry.collect() for sample in family.samples]
    started = {(each.name, *each.labels.values()): each.value for each in samples if not each.name.endswith("_created")}
    constant = {name for name, *_ in started if name.startswith(("brain_tumor_model_info", "brain_tumor_reference_share"))}
    assert {key for key, value in started.items() if value and key[0] not in constant} == set()
    for key in (("requests_total", "/predict", "503"), ("rejected_total", "too_busy"), ("warnings_total", "uncertain")):
        assert started[f"brain_tumor_{key[0]}", *key[1:]] == 0
    for key in (("request_seconds_count", "/predict"), ("stage_seconds_count", "render"), ("predictions_total", "tumor")):
        assert started[f"brain_tumor_{key[0]}", *key[1:]] == 0


def scrape(served: Transformer) -> list[tuple[str, dict[str, str], float]]:
    """Return the name, labels and value of each sample."""
    families = text_string_to_metric_families(httpx.get(f"{served.url}/metrics").text)
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]
