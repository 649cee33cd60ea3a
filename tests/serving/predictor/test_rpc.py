"""The stand-in's gRPC API gives the predictions of its REST API, and TensorFlow Serving's status for each error."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from components.saved_model import SavedModel
from tests.serving.clients import instances
from tests.serving.predictor.conftest import Server

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[Any]:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(server.grpc) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict(stub: Any, sent: list[bytes], *, version: int | None = None, input_name: str = "image_bytes", **more: Any) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    spec = {"name": more.pop("name", "brain-tumor"), "signature_name": more.pop("signature_name", "explain")}
    request = predict_pb2.PredictRequest(model_spec=spec, **more)
    request.inputs[input_name].CopyFrom(tf.make_tensor_proto(sent, tf.string, [len(sent)]))
    if version is not None:
        request.model_spec.version.value = version
    return stub.Predict(request, timeout=30)


def test_predict_equals_rest_and_the_model(stub: Any, server: Server, model: SavedModel, images: list[bytes]) -> None:
    import tensorflow as tf

    response = predict(stub, images[:3], version=1)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("brain-tumor", 1, "explain")
    expected = model.run_signature("explain", images[:3])
    rows = server.post(instances(images[:3]) | {"signature_name": "explain"})["predictions"]
    outputs = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
    assert set(outputs) == set(expected)
    assert [label.decode() for label in outputs["label"]] == list(expected["label"]) == [row["label"] for row in rows]
    for name in ("probability", "heatmap", "in_distribution", "uncertain"):
        np.testing.assert_allclose(outputs[name], expected[name], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(outputs[name], [row[name] for row in rows], rtol=0, atol=TOLERANCE)
    assert len(response.outputs["probability"].float_val) == 3
    assert list(response.outputs["uncertain"].bool_val) == list(expected["uncertain"])


def test_output_filter_selects_outputs_of_the_default_signature(stub: Any, images: list[bytes]) -> None:
    response = predict(stub, images[:1], signature_name="", output_filter=["label", "probability"])
    assert response.model_spec.signature_name == "serving_default"
    assert set(response.outputs) == {"label", "probability"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": "other"}, "NOT_FOUND"),
        ({"version": 2}, "NOT_FOUND"),
        ({"signature_name": "train"}, "FAILED_PRECONDITION"),
        ({"output_filter": ["logits"]}, "INVALID_ARGUMENT"),
        ({"output_filter": ["label", "label"]}, "INVALID_ARGUMENT"),
        ({"input_name": "pixels"}, "INVALID_ARGUMENT"),
        ({"sent": []}, "INVALID_ARGUMENT"),
        ({"sent": [b"no image"]}, "INVALID_ARGUMENT"),
    ],
)
def test_invalid_call_gets_its_status(stub: Any, images: list[bytes], change: dict[str, Any], code: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        predict(stub, **({"sent": images[:1]} | change))
    assert raised.value.code() is grpc.StatusCode[code]
    assert raised.value.details()


def test_message_of_32_mib_is_accepted(stub: Any, images: list[bytes]) -> None:
    padded = images[0] + bytes(32 << 20)  # decoders stop at the end of the image
    assert len(predict(stub, [padded]).outputs["label"].string_val) == 1


def test_invalid_message_gets_invalid_argument(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"\xff\xff", timeout=30)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_metadata_lists_the_signatures(stub: Any) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2 as pb

    request = pb.GetModelMetadataRequest(model_spec={"name": "brain-tumor"}, metadata_field=["signature_def"])
    response = stub.GetModelMetadata(request, timeout=30)
    assert (response.model_spec.name, response.model_spec.version.value) == ("brain-tumor", 1)
    signatures = pb.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def["explain"].outputs) == {
        *("probability", "label", "in_distribution", "uncertain", "heatmap")
    }
    request.model_spec.name = "other"
    with pytest.raises(grpc.RpcError) as raised:
        stub.GetModelMetadata(request, timeout=30)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
