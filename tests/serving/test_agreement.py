"""Every protocol gives the same prediction for an image."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from brain_tumor.images import read_image
from brain_tumor.overlay import render_overlay
from brain_tumor.phantoms import phantom_pngs
from components.saved_model import SavedModel
from tests.brain_tumor.test_images import EVERY
from tests.serving import clients
from tests.serving.clients import Prediction
from tests.serving.conftest import Pair

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> SavedModel:
    return SavedModel(tiny_model)


def in_process(model: SavedModel, data: bytes) -> Prediction:
    """Return the prediction of SavedModel and overlay code without a service."""
    image = read_image(data)
    row = {name: values[0] for name, values in model.run_signature("explain", [image.data]).items()}
    return Prediction(row["probability"], row["label"], row["heatmap"], render_overlay(image.pixels, row["heatmap"]))


def assert_same(got: Prediction, expected: Prediction, message: str, tolerance: float = TOLERANCE) -> None:
    assert got.label == expected.label, message
    np.testing.assert_allclose(got.probability, expected.probability, atol=tolerance, rtol=0, err_msg=message)
    assert got.heatmap is not None
    assert expected.heatmap is not None
    np.testing.assert_allclose(got.heatmap, expected.heatmap, atol=tolerance, rtol=0, err_msg=message)
    if got.overlay is not None and expected.overlay is not None:
        assert got.overlay.shape == expected.overlay.shape, message
        # An 8-bit level may round the other way.
        differ = (np.abs(got.overlay.astype(int) - expected.overlay) > 4).any(axis=2)
        assert differ.mean() < 0.01, message


@pytest.mark.parametrize("name", EVERY)
def test_every_protocol_gives_the_same_prediction_for_every_format(name: str, service: Pair, model: SavedModel) -> None:
    data = EVERY[name][0]
    expected = in_process(model, data)
    stored = read_image(data).data
    predictions = {
        "/predict": clients.call_predict(service.url, data),
        "V1": clients.call_v1(service.url, [data])[0],
        "V2 REST": clients.call_v2(service.url, [data])[0],
        "V2 REST, binary": clients.call_v2_binary(service.url, [data])[0],
        "V2 gRPC": clients.call_grpc(service.grpc, [data])[0],
        "predictor REST": clients.call_predictor(service.predictor_url, [stored])[0],
        "predictor gRPC": clients.call_predictor_grpc(service.predictor_grpc, [stored])[0],
    }
    for protocol, prediction in predictions.items():
        assert_same(prediction, expected, f"{name} by {protocol}")


def test_batch_keeps_its_order(service: Pair, model: SavedModel) -> None:
    images = [data for data, _ in EVERY.values()][:20] + phantom_pngs(12)
    expected = [in_process(model, data) for data in images]
    for call in (clients.call_v1, clients.call_v2, clients.call_v2_binary):
        for index, prediction in enumerate(call(service.url, images)):
            assert_same(prediction, expected[index], f"{call.__name__} [{index}]", tolerance=1e-3)
    for index, prediction in enumerate(clients.call_grpc(service.grpc, images)):
        assert_same(prediction, expected[index], f"gRPC [{index}]", tolerance=1e-3)


def test_concurrent_requests_get_their_own_predictions(service: Pair, model: SavedModel) -> None:
    images = phantom_pngs(16)
    expected = [in_process(model, data) for data in images]
    assert len({prediction.overlay.tobytes() for prediction in expected if prediction.overlay is not None}) == 16
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            predictions = list(pool.map(lambda data: clients.call_predict(service.url, data), images))
            for index, prediction in enumerate(predictions):
                assert_same(prediction, expected[index], f"image {index}", tolerance=1e-3)


def test_predict_gives_the_probability_of_explain_without_a_heatmap(service: Pair) -> None:
    images = phantom_pngs(3)
    predicted, explained = clients.call_v1(service.url, images, "predict"), clients.call_v1(service.url, images)
    predicted_v2 = clients.call_v2(service.url, images, explain=False)
    for one, v2, other in zip(predicted, predicted_v2, explained, strict=True):
        assert (one.label, v2.label) == (other.label, other.label)
        assert one.probability == pytest.approx(other.probability, abs=TOLERANCE)
        assert v2.probability == pytest.approx(other.probability, abs=TOLERANCE)
        assert one.heatmap is v2.heatmap is None
        assert one.overlay is v2.overlay is None
