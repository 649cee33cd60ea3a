"""The stand-in's gRPC answers as its REST does, with TensorFlow Serving's status for what is wrong."""

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


def predict(stub: Any, sent: list[bytes], *, version: int | None = None, takes: str = "image_bytes", **more: Any) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    spec = {"name": more.pop("name", "brain-tumor"), "signature_name": more.pop("signature_name", "explain")}
    request = predict_pb2.PredictRequest(model_spec=spec, **more)
    request.inputs[takes].CopyFrom(tf.make_tensor_proto(sent, tf.string, [len(sent)]))
    if version is not None:
        request.model_spec.version.value = version
    return stub.Predict(request, timeout=30)


def test_predict_is_what_rest_and_the_model_answer(stub: Any, server: Server, model: SavedModel, images: list[bytes]) -> None:
    import tensorflow as tf

    answer = predict(stub, images[:3], version=1)
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("brain-tumor", 1, "explain")
    wanted = model.run_signature("explain", images[:3])
    rows = server.run_signature(instances(images[:3]) | {"signature_name": "explain"})["predictions"]
    outputs = {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}
    assert set(outputs) == set(wanted)
    assert [label.decode() for label in outputs["label"]] == list(wanted["label"]) == [row["label"] for row in rows]
    for name in ("probability", "heatmap", "in_distribution"):
        np.testing.assert_allclose(outputs[name], wanted[name], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(outputs[name], [row[name] for row in rows], rtol=0, atol=TOLERANCE)
    assert len(answer.outputs["probability"].float_val) == 3


def test_output_filter_and_default_signature(stub: Any, images: list[bytes]) -> None:
    answer = predict(stub, images[:1], signature_name="", output_filter=["label", "probability"])
    assert answer.model_spec.signature_name == "serving_default"
    assert set(answer.outputs) == {"label", "probability"}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"name": "other"}, "NOT_FOUND"),
        ({"version": 2}, "NOT_FOUND"),
        ({"signature_name": "train"}, "FAILED_PRECONDITION"),
        ({"output_filter": ["logits"]}, "INVALID_ARGUMENT"),
        ({"output_filter": ["label", "label"]}, "INVALID_ARGUMENT"),
        ({"takes": "pixels"}, "INVALID_ARGUMENT"),
        ({"sent": []}, "INVALID_ARGUMENT"),
        ({"sent": [b"no image"]}, "INVALID_ARGUMENT"),
    ],
)
def test_what_is_wrong_with_a_call_is_its_status(stub: Any, images: list[bytes], asked: dict[str, Any], code: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        predict(stub, **({"sent": images[:1]} | asked))
    assert raised.value.code() is grpc.StatusCode[code]
    assert raised.value.details()


def test_a_message_of_32_mib_passes(stub: Any, images: list[bytes]) -> None:
    padded = images[0] + bytes(32 << 20)  # decoders stop at the end of the image
    assert len(predict(stub, [padded]).outputs["label"].string_val) == 1


def test_bytes_that_are_no_message(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"\xff\xff", timeout=30)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_metadata(stub: Any) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2 as pb

    request = pb.GetModelMetadataRequest(model_spec={"name": "brain-tumor"}, metadata_field=["signature_def"])
    answer = stub.GetModelMetadata(request, timeout=30)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("brain-tumor", 1)
    signatures = pb.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def["explain"].outputs) == {"probability", "label", "in_distribution", "heatmap"}
    request.model_spec.name = "other"
    with pytest.raises(grpc.RpcError) as raised:
        stub.GetModelMetadata(request, timeout=30)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
