import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.serving import clients
from tests.serving.clients import explain
from tests.serving.conftest import Transformer


def test_metrics_count_requests_predictions_and_errors(served: Transformer) -> None:
    def value(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(httpx.get(f"{served.url}/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    increments = {
        ("brain_tumor_requests_total", "route", "/predict"): 2,
        ("brain_tumor_requests_total", "code", "400"): 1,
        ("brain_tumor_request_seconds_count", "route", "/predict"): 2,
        ("brain_tumor_stage_seconds_count", "stage", "decode"): 2,
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
