"""The stand-in's REST API responds like TensorFlow Serving, with the outputs of the SavedModel in process."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from components.saved_model import SavedModel
from tests.serving.clients import V1, b64, instances
from tests.serving.predictor.conftest import PREDICT, Server

TOLERANCE = 1e-5


def check(outputs: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        if name == "label":
            assert list(outputs[name]) == list(values)
        else:
            np.testing.assert_allclose(outputs[name], values, rtol=0, atol=TOLERANCE)


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("signature", ["serving_default", "explain"])
def test_rows_and_columns_equal_the_models_outputs(
    server: Server, model: SavedModel, images: list[bytes], signature: str
) -> None:
    expected = model.run_signature(signature, images[:3])
    by_row = server.post(instances(images[:3]) | {"signature_name": signature})
    by_column = server.post({"signature_name": signature, "inputs": {"image_bytes": [b64(data) for data in images[:3]]}})
    assert set(by_row) == {"predictions"}
    assert set(by_column) == {"outputs"}
    check(columns(by_row["predictions"]), expected)
    check(by_column["outputs"], expected)


def test_every_form_of_an_image_gives_the_same_prediction(server: Server, images: list[bytes]) -> None:
    bare = b64(images[0])
    expected = server.post(instances(images[:1]))["predictions"]
    for instance in (bare, {"image_bytes": bare}):
        assert server.post({"instances": [instance]}, f"{V1}/versions/1:predict")["predictions"] == expected
    assert server.post({"inputs": [bare]})["outputs"] == columns(expected)


def test_prediction_does_not_depend_on_its_batch(server: Server, images: list[bytes]) -> None:
    together = server.post(instances(images) | {"signature_name": "explain"})["predictions"]
    alone = [server.post(instances([data]) | {"signature_name": "explain"})["predictions"][0] for data in images]
    check(columns(together), columns(alone))


def test_concurrent_requests_get_their_own_predictions_and_only_the_corrupt_image_fails(
    server: Server, model: SavedModel, images: list[bytes]
) -> None:
    corrupt = 5
    sent = [data if index != corrupt else data[:100] for index, data in enumerate(images)]
    with ThreadPoolExecutor(16) as clients, httpx.Client(timeout=30) as client:
        for _ in range(3):
            responses = list(clients.map(lambda data: client.post(server.url + PREDICT, json=instances([data])), sent))
            assert [response.status_code for response in responses] == [400 if index == corrupt else 200 for index in range(16)]
            rows = [response.json()["predictions"][0] for index, response in enumerate(responses) if index != corrupt]
            check(columns(rows), model.run_signature("serving_default", images[:corrupt] + images[corrupt + 1 :]))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error"),
        (b"{", "JSON Parse error"),
        (b"[]", "either 'instances' or 'inputs'"),
        (b"{}", "either 'instances' or 'inputs'"),
        (b'{"instances": ["x"], "inputs": ["x"]}', "either 'instances' or 'inputs'"),
        (b'{"instances": []}', "at least one"),
        (b'{"instances": {"b64": ""}}', "list"),
        (b'{"inputs": []}', "at least one"),
        (b'{"inputs": {"pixels": ["x"]}}', "image_bytes"),
        (b'{"inputs": {"b64": "eA=="}}', "list"),
        (b'{"instances": [{"pixels": "x"}]}', "under the key image_bytes"),
        (b'{"instances": [{"image_bytes": "x", "more": 1}]}', "under the key image_bytes"),
        (b'{"instances": ["x", 1]}', "expected a string"),
        (b'{"instances": [{"b64": "?"}]}', "Input is empty"),
        (b'{"instances": ["caf\xc3\xa9"]}', "Unknown image file format"),  # the bytes of a text reach the model
        (b'{"instances": [""]}', "Input is empty"),
        (b'{"signature_name": 1, "instances": ["x"]}', "not found in signature def"),
        (b'{"signature_name": "train", "instances": ["x"]}', 'Serving signature name: "train" not found'),
    ],
)
def test_invalid_request_gets_400_with_the_reason(server: Server, body: bytes, message: str) -> None:
    response = httpx.post(server.url + PREDICT, content=body)
    assert (response.status_code, set(response.json())) == (400, {"error"})
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/other:predict", 404),
        ("POST", f"{V1}/versions/2:predict", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", f"{V1}/versions/2", 404),
        ("GET", f"{V1}/versions/2/metadata", 404),
        ("GET", "/elsewhere", 404),
        ("GET", PREDICT, 400),
        ("POST", V1, 400),
        ("GET", "/v1/models", 400),
        ("GET", f"{V1}/versions/{'9' * 40}", 400),
    ],
)
def test_unknown_paths_models_and_versions_are_rejected(server: Server, method: str, path: str, status: int) -> None:
    response = httpx.request(method, server.url + path)
    assert (response.status_code, set(response.json())) == (status, {"error"})


def test_batch_of_640_images_is_accepted(server: Server, images: list[bytes]) -> None:
    assert len(server.post(instances(images * 40))["predictions"]) == 640


def test_status_and_metadata_equal_tensorflow_servings(server: Server) -> None:
    for path in (V1, f"{V1}/versions/1"):
        status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        assert httpx.get(server.url + path).json() == {"model_version_status": [status]}
    document = httpx.get(f"{server.url}{V1}/metadata").json()
    assert httpx.get(f"{server.url}{V1}/versions/1/metadata").json() == document
    assert document["model_spec"] == {"name": "brain-tumor", "signature_name": "", "version": "1"}
    explain = document["metadata"]["signature_def"]["signature_def"]["explain"]
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    tensor = {"dtype": "DT_STRING", "tensor_shape": shape, "name": "explain_image_bytes:0"}
    assert explain["inputs"] == {"image_bytes": tensor}
    assert explain["method_name"] == "tensorflow/serving/predict"
    assert [dim["size"] for dim in explain["outputs"]["heatmap"]["tensor_shape"]["dim"]] == ["-1", "12", "12"]
