"""`in_distribution`, `uncertain` and the warnings, of models that give them and of an early model, over every protocol."""

from collections.abc import Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferResponse
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families

from serving.inference import WARNINGS
from tests.serving import clients
from tests.serving.brightness_model import EXPECTED, IMAGES
from tests.serving.clients import INFER, V1, Prediction
from tests.serving.conftest import Pair, Transformer
from tests.serving.fake_predictor import ROW, FakePredictor

CALLS: dict[str, Callable[[Pair], list[Prediction]]] = {
    "/predict": lambda pair: [clients.call_predict(pair.url, data) for data in IMAGES],
    "V1 predict": lambda pair: clients.call_v1(pair.url, IMAGES, "predict"),
    "V1 explain": lambda pair: clients.call_v1(pair.url, IMAGES),
    "V2 REST": lambda pair: clients.call_v2(pair.url, IMAGES),
    "V2 REST, plain": lambda pair: clients.call_v2(pair.url, IMAGES, explain=False),
    "V2 REST, binary": lambda pair: clients.call_v2_binary(pair.url, IMAGES),
    "V2 gRPC": lambda pair: clients.call_grpc(pair.grpc, IMAGES),
}
PREDICTOR_CALLS: dict[str, Callable[[Pair], list[Prediction]]] = {
    "predictor REST": lambda pair: clients.call_predictor(pair.predictor_url, IMAGES),
    "predictor gRPC": lambda pair: clients.call_predictor_grpc(pair.predictor_grpc, IMAGES),
}


def predict(pair: Pair) -> list[dict[str, Any]]:
    """Return the V1 predictions for `IMAGES`."""
    response = httpx.post(f"{pair.url}{V1}:predict", json=clients.instances(IMAGES)).raise_for_status()
    return list(response.json()["predictions"])


@pytest.mark.parametrize("protocol", [*CALLS, *PREDICTOR_CALLS])
def test_outputs_of_the_model_arrive_over_every_protocol(protocol: str, brightness_service: Pair) -> None:
    predictions = (CALLS | PREDICTOR_CALLS)[protocol](brightness_service)
    assert [each.uncertain for each in predictions] == [uncertain for _, uncertain, _ in EXPECTED.values()]
    assert all(isinstance(each.uncertain, bool | np.bool_) for each in predictions)
    expected = [in_distribution for in_distribution, _, _ in EXPECTED.values()]
    assert [each.in_distribution for each in predictions] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("protocol", CALLS)
def test_missing_outputs_of_a_model_of_0_1_0_read_as_1_and_false(protocol: str, service_of_0_1_0: Pair) -> None:
    predictions = CALLS[protocol](service_of_0_1_0)
    assert [(each.in_distribution, each.uncertain) for each in predictions] == [(1.0, False)] * len(IMAGES)
    assert [each.label for each in predictions] == ["no_tumor", "no_tumor", "tumor", "tumor"]


def test_prediction_has_codes_beside_sentences_and_the_method_of_the_model_card(brightness_service: Pair) -> None:
    for prediction, (_, _, codes) in zip(predict(brightness_service), EXPECTED.values(), strict=True):
        assert prediction["warning_codes"] == codes
        assert prediction["warnings"] == [WARNINGS[code] for code in codes]
        assert prediction["explanation"] == "evidence"


def test_prediction_of_a_model_of_0_1_0_has_no_warning_and_grad_cam(service_of_0_1_0: Pair) -> None:
    for prediction in predict(service_of_0_1_0):
        assert (prediction["warnings"], prediction["warning_codes"], prediction["explanation"]) == ([], [], "grad_cam")


def test_v2_tensors_have_their_datatypes_and_the_warnings_are_a_parameter(brightness_service: Pair) -> None:
    body = clients.tensors(IMAGES, outputs=[{"name": "uncertain"}, {"name": "in_distribution"}])
    response = httpx.post(f"{brightness_service.url}{INFER}", json=body).raise_for_status().json()
    uncertain, in_distribution = response["outputs"]
    assert uncertain == {"name": "uncertain", "datatype": "BOOL", "shape": [4], "data": [False, True, False, True]}
    assert (in_distribution["datatype"], in_distribution["shape"]) == ("FP32", [4])
    assert in_distribution["data"] == pytest.approx([0.8, 0.6, 0.2, 0.0], abs=1e-6)
    assert response["parameters"]["warnings"] == "; ".join([WARNINGS["uncertain"], WARNINGS["unlike_training"]])


def test_v2_returns_one_requested_output_as_raw_bytes(brightness_service: Pair) -> None:
    output = {"name": "uncertain", "parameters": {"binary_data": True}}
    response = httpx.post(f"{brightness_service.url}{INFER}", json=clients.tensors(IMAGES, outputs=[output])).raise_for_status()
    assert response.content[int(response.headers[clients.JSON_LENGTH]) :] == b"\0\1\0\1"


def test_grpc_returns_the_requested_outputs_in_their_order(brightness_service: Pair) -> None:
    request = clients.infer_request(IMAGES).to_grpc()
    for name in ("uncertain", "in_distribution"):
        request.outputs.add(name=name)
    with grpc.insecure_channel(brightness_service.grpc) as channel:
        message = GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert [(output.name, output.datatype, list(output.shape)) for output in message.outputs] == [
        ("uncertain", "BOOL", [4]),
        ("in_distribution", "FP32", [4]),
    ]
    uncertain = InferResponse.from_grpc(message).outputs[0].as_numpy()
    assert (uncertain.dtype, uncertain.tolist()) == (np.bool_, [False, True, False, True])


@pytest.mark.parametrize(
    ("change", "in_distribution", "uncertain", "codes"),
    [
        ({"in_distribution": 0.5}, 0.5, False, ["synthetic_model"]),
        ({"in_distribution": 0.4999}, 0.4999, False, ["synthetic_model", "unlike_training"]),
        ({"in_distribution": 0.1, "uncertain": True}, 0.1, True, ["synthetic_model", "unlike_training", "uncertain"]),
        ({}, 1.0, False, ["synthetic_model"]),
    ],
)
def test_image_is_unlike_the_training_images_below_one_half(
    change: dict[str, Any],
    in_distribution: float,
    uncertain: bool,
    codes: list[str],
    served: Transformer,
    fake_predictor: FakePredictor,
) -> None:
    fake_predictor.rows = [{"probability": ROW["probability"], "label": ROW["label"]} | change]
    prediction = httpx.post(f"{served.url}/predict", files=clients.form(IMAGES[0])).raise_for_status().json()
    assert (prediction["in_distribution"], prediction["uncertain"], prediction["warning_codes"]) == (
        in_distribution,
        uncertain,
        codes,
    )


def test_metrics_count_each_warning_and_the_likeness(brightness_service: Pair) -> None:
    def samples() -> dict[str, float]:
        families = text_string_to_metric_families(httpx.get(f"{brightness_service.url}/metrics").text)
        names = ("brain_tumor_warnings_total", "brain_tumor_in_distribution_bucket", "brain_tumor_in_distribution_sum")
        every = [sample for family in families for sample in family.samples if sample.name in names]
        return {next(iter(sample.labels.values()), "sum"): sample.value for sample in every}

    before = samples()
    assert set(before) >= {"0.5", *WARNINGS}
    predict(brightness_service)
    increments = {key: value - before[key] for key, value in samples().items()}
    assert {key: increments[key] for key in WARNINGS} == dict.fromkeys(WARNINGS, 0) | {"unlike_training": 2, "uncertain": 2}
    assert [increments[le] for le in ("0.1", "0.3", "0.5", "0.7", "0.9", "+Inf")] == [1, 2, 2, 3, 4, 4]
    assert increments["sum"] == pytest.approx(1.6, abs=1e-5)
