"""Calls to the predictor: failures and readiness."""

import time

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from brain_tumor.phantoms import phantom_pngs
from tests.serving import clients
from tests.serving.clients import PNG, V1, explain
from tests.serving.conftest import Transformer
from tests.serving.fake_predictor import FakePredictor


@pytest.mark.parametrize(
    ("failure", "status", "code", "grpc_status"),
    [
        ({"status": 500}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"status": 400, "body": b'{"error": "no"}'}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"status": 503}, 503, "not_ready", grpc.StatusCode.UNAVAILABLE),
        ({"body": b"not json"}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"rows": []}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"rows": [{"probability": [0.5]}]}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"rows": [{"probability": [0.2, 0.8], "label": "tumor"}]}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"rows": [{"probability": [0.5], "label": "glioma"}]}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        (
            {"rows": [{"probability": [0.5], "label": "tumor", "in_distribution": "x"}]},
            502,
            "predictor_failed",
            grpc.StatusCode.UNAVAILABLE,
        ),
        ({"rows": [{"probability": ["x"], "label": "tumor"}]}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        (
            {"rows": [{"probability": [0.5], "label": "tumor", "heatmap": "x"}]},
            502,
            "predictor_failed",
            grpc.StatusCode.UNAVAILABLE,
        ),
        ({"disconnect": True}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"delay_seconds": 3}, 504, "too_slow", grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_each_predictor_failure_has_its_error_code(
    failure: dict[str, object],
    status: int,
    code: str,
    grpc_status: grpc.StatusCode,
    served: Transformer,
    fake_predictor: FakePredictor,
) -> None:
    for name, value in failure.items():
        setattr(fake_predictor, name, value)
    started = time.monotonic()
    response = explain(served.url)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert time.monotonic() - started < 3
    with pytest.raises(grpc.RpcError) as failed:
        clients.infer(served.grpc, clients.infer_request([PNG], explain=True))
    assert failed.value.code() == grpc_status


def test_only_readiness_probes_call_the_predictor(served: Transformer, fake_predictor: FakePredictor) -> None:
    fake_predictor.state = "LOADING"
    for path in ("/healthz", "/v2/health/live", "/metrics", "/model", "/"):
        assert httpx.get(served.url + path).status_code == 200
    assert fake_predictor.probes == 0
    for path in ("/readyz", "/v2/health/ready", "/v2/models/brain-tumor/ready", V1):
        assert httpx.get(served.url + path).json()["code"] == "not_ready"
    assert fake_predictor.probes == 4


def available(url: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return next(family.samples[0].value for family in families if family.name == "brain_tumor_predictor_available")


@pytest.mark.parametrize("verb", ["predict", "explain"])
@pytest.mark.parametrize(("index", "calls"), [(0, 3), (2, 4)])  # the list, each image up to the failure, and a phantom first
def test_image_that_the_predictor_cannot_decode_is_named(
    index: int, calls: int, verb: str, served: Transformer, fake_predictor: FakePredictor
) -> None:
    images = [PNG] * 4
    images[index] = fake_predictor.undecodable = phantom_pngs(2)[1]
    response = httpx.post(f"{served.url}{V1}:{verb}", json=clients.instances(images))
    assert (response.status_code, response.json()["code"]) == (400, "corrupt")
    assert response.json()["error"].startswith(f"instances[{index}]: ")
    assert len(fake_predictor.received_headers) == calls
    assert available(served.url) == 1
    response = httpx.post(f"{served.url}/predict", files=clients.form(images[index]))
    assert (response.status_code, response.json()["code"]) == (400, "corrupt")
    with pytest.raises(grpc.RpcError) as failed:
        clients.infer(served.grpc, clients.infer_request(images))
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.details().startswith(f"image_bytes[{index}]: ")


def test_images_that_shared_a_batch_with_an_undecodable_one_are_answered(
    served: Transformer, fake_predictor: FakePredictor
) -> None:
    fake_predictor.failed_batches = 1
    assert explain(served.url).json()["probability"] == 0.75
    fake_predictor.failed_batches = 1
    assert len(clients.call_v1(served.url, [PNG] * 3)) == 3
    assert len(fake_predictor.received_headers) == 2 + 4
    assert available(served.url) == 1


def test_availability_gauge_follows_the_last_probe_or_call(served: Transformer, fake_predictor: FakePredictor) -> None:
    assert explain(served.url).status_code == 200
    assert available(served.url) == 1
    fake_predictor.state = "LOADING"
    assert httpx.get(f"{served.url}/readyz").status_code == 503
    assert available(served.url) == 0
    assert explain(served.url).status_code == 200
    assert available(served.url) == 1
    fake_predictor.disconnect = True
    assert explain(served.url).status_code == 502
    assert available(served.url) == 0
    fake_predictor.state, fake_predictor.disconnect = "AVAILABLE", False
    assert httpx.get(f"{served.url}/readyz").status_code == 200
    assert available(served.url) == 1
