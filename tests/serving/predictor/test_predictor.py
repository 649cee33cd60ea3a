"""The stand-in answers as TensorFlow Serving does, and as the SavedModel in process."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from components.saved_model import SavedModel
from tests.serving.clients import V1, b64, instances
from tests.serving.predictor.conftest import PREDICT, Server

TOLERANCE = 1e-5


def check(outputs: dict[str, Any], wanted: dict[str, np.ndarray]) -> None:
    assert set(outputs) == set(wanted)
    for name, values in wanted.items():
        if name == "label":
            assert list(outputs[name]) == list(values)
        else:
            np.testing.assert_allclose(outputs[name], values, rtol=0, atol=TOLERANCE)


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("signature", ["serving_default", "explain"])
def test_rows_and_columns_are_what_the_model_answers(
    server: Server, model: SavedModel, images: list[bytes], signature: str
) -> None:
    wanted = model.run_signature(signature, images[:3])
    by_row = server.run_signature(instances(images[:3]) | {"signature_name": signature})
    by_column = server.run_signature({"signature_name": signature, "inputs": {"image_bytes": [b64(data) for data in images[:3]]}})
    assert set(by_row) == {"predictions"}
    assert set(by_column) == {"outputs"}
    check(columns(by_row["predictions"]), wanted)
    check(by_column["outputs"], wanted)


def test_an_image_may_come_in_every_form(server: Server, images: list[bytes]) -> None:
    bare = b64(images[0])
    wanted = server.run_signature(instances(images[:1]))["predictions"]
    for given in (bare, {"image_bytes": bare}):
        assert server.run_signature({"instances": [given]}, f"{V1}/versions/1:predict")["predictions"] == wanted
    assert server.run_signature({"inputs": [bare]})["outputs"] == columns(wanted)


def test_a_row_does_not_depend_on_its_batch(server: Server, images: list[bytes]) -> None:
    together = server.run_signature(instances(images) | {"signature_name": "explain"})["predictions"]
    alone = [server.run_signature(instances([data]) | {"signature_name": "explain"})["predictions"][0] for data in images]
    check(columns(together), columns(alone))


def test_16_at_once_each_get_their_own_and_the_corrupt_one_fails_alone(
    server: Server, model: SavedModel, images: list[bytes]
) -> None:
    corrupt = 5
    sent = [data if index != corrupt else data[:100] for index, data in enumerate(images)]
    with ThreadPoolExecutor(16) as clients, httpx.Client(timeout=30) as client:
        for _ in range(3):
            answers = list(clients.map(lambda data: client.post(server.url + PREDICT, json=instances([data])), sent))
            assert [answer.status_code for answer in answers] == [400 if index == corrupt else 200 for index in range(16)]
            rows = [answer.json()["predictions"][0] for index, answer in enumerate(answers) if index != corrupt]
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
        (b'{"instances": ["x", 1]}', "wanted a string"),
        (b'{"instances": [{"b64": "?"}]}', "Input is empty"),
        (b'{"instances": ["caf\xc3\xa9"]}', "Unknown image file format"),  # text is its bytes: they reach the model
        (b'{"instances": [""]}', "Input is empty"),
        (b'{"signature_name": 1, "instances": ["x"]}', "not found in signature def"),
        (b'{"signature_name": "train", "instances": ["x"]}', 'Serving signature name: "train" not found'),
    ],
)
def test_what_is_wrong_with_a_request_is_said(server: Server, body: bytes, message: str) -> None:
    answer = httpx.post(server.url + PREDICT, content=body)
    assert (answer.status_code, set(answer.json())) == (400, {"error"})
    assert message in answer.json()["error"]


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
def test_unknown_paths_models_and_versions(server: Server, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, server.url + path)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})


def test_a_batch_of_640(server: Server, images: list[bytes]) -> None:
    assert len(server.run_signature(instances(images * 40))["predictions"]) == 640


def test_status_and_metadata(server: Server) -> None:
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
