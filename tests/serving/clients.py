"""Call the service over each of its protocols, and parse the responses into one form."""

import base64
import io
import json
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferResponse
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from PIL import Image

from brain_tumor.phantoms import phantom_pngs

PNG = phantom_pngs(1)[0]
V1 = "/v1/models/brain-tumor"
INFER = "/v2/models/brain-tumor/infer"
JSON_LENGTH = "Inference-Header-Content-Length"


class Prediction(NamedTuple):
    """Prediction for one image: probability float [C], label, heatmap float [h, w], overlay uint8 [height, width, 3]."""

    probability: np.ndarray
    label: str
    heatmap: np.ndarray | None = None
    overlay: np.ndarray | None = None
    in_distribution: float | None = None
    uncertain: bool | None = None


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def instances(images: list[bytes]) -> dict[str, Any]:
    return {"instances": [{"image_bytes": b64(data)} for data in images]}


def tensors(images: list[bytes], *, explain: bool = True, **more: Any) -> dict[str, Any]:
    data = [b64(image)["b64"] for image in images]
    tensor = {"name": "image_bytes", "shape": [len(images)], "datatype": "BYTES", "data": data}
    return {"inputs": [tensor], "parameters": {"explain": explain}, **more}


def form(data: bytes) -> dict[str, tuple[str, bytes]]:
    return {"file": ("slice", data)}


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def from_json(prediction: dict[str, Any]) -> Prediction:
    probability = prediction["probability"]
    columns = np.array(list(probability.values()) if isinstance(probability, dict) else [probability])
    plain = Prediction(
        columns, prediction["label"], in_distribution=prediction["in_distribution"], uncertain=prediction["uncertain"]
    )
    if "heatmap" not in prediction:
        return plain
    heatmap = np.reshape(prediction["heatmap"]["values"], prediction["heatmap"]["shape"])
    return plain._replace(heatmap=heatmap, overlay=pixels(base64.b64decode(prediction["overlay_png"])))


def from_tensors(response: InferResponse, *, text: bool) -> list[Prediction]:
    """Split a V2 response into its images; with `text`, BYTES elements are base64 text."""
    outputs = {output.name: output.as_numpy() for output in response.outputs}
    raw = base64.b64decode if text else bytes
    return [
        Prediction(
            outputs["probability"][index],
            raw(outputs["label"][index]).decode(),
            outputs["heatmap"][index] if "heatmap" in outputs else None,
            pixels(raw(outputs["overlay_png"][index])) if "overlay_png" in outputs else None,
            outputs["in_distribution"][index],
            outputs["uncertain"][index],
        )
        for index in range(len(outputs["label"]))
    ]


def explain(url: str, **options: Any) -> httpx.Response:
    """Request an explanation of `PNG`; `options` are those of httpx.post."""
    return httpx.post(f"{url}/predict?explain=true", files=form(PNG), timeout=20, **options)


def call_predict(url: str, data: bytes) -> Prediction:
    return from_json(httpx.post(f"{url}/predict?explain=true", files=form(data)).raise_for_status().json())


def call_v1(url: str, images: list[bytes], verb: str = "explain") -> list[Prediction]:
    response = httpx.post(f"{url}{V1}:{verb}", json=instances(images), timeout=30).raise_for_status()
    return [from_json(prediction) for prediction in response.json()["predictions"]]


def call_v2(url: str, images: list[bytes], **more: Any) -> list[Prediction]:
    response = httpx.post(f"{url}{INFER}", json=tensors(images, **more), timeout=30).raise_for_status()
    return from_tensors(InferResponse.from_rest(response.json()), text=True)


def binary_request(images: list[bytes]) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of an explanation's request in the binary extension, for a response in it."""
    blob = b"".join(len(data).to_bytes(4, "little") + data for data in images)
    tensor: dict[str, Any] = {"name": "image_bytes", "shape": [len(images)], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": len(blob)}
    head = json.dumps({"inputs": [tensor], "parameters": {"explain": True, "binary_data_output": True}}).encode()
    headers = {JSON_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return head + blob, headers


def call_v2_binary(url: str, images: list[bytes]) -> list[Prediction]:
    """Use the binary extension for request and response."""
    content, headers = binary_request(images)
    response = httpx.post(f"{url}{INFER}", content=content, headers=headers, timeout=30).raise_for_status()
    length = int(response.headers[JSON_LENGTH])
    result = InferResponse("", "brain-tumor", [])
    # KServe's own parser reads BYTES as UTF-8.
    for output in json.loads(response.content[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        result.outputs.append(InferOutput(output["name"], output["shape"], output["datatype"]))
        result.outputs[-1]._raw_data = response.content[length : length + size]
        length += size
    assert length == len(response.content)
    return from_tensors(result, text=False)


def infer(address: str, request: InferRequest, **options: Any) -> ModelInferResponse:
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        return GRPCInferenceServiceStub(channel).ModelInfer(request.to_grpc(), timeout=30, **options)


def infer_request(images: list[bytes], **parameters: Any) -> InferRequest:
    tensor = InferInput("image_bytes", [len(images)], "BYTES")
    tensor.set_data_from_numpy(np.array(images, dtype=np.object_))
    return InferRequest("brain-tumor", [tensor], parameters=parameters)


def call_grpc(address: str, images: list[bytes]) -> list[Prediction]:
    return from_tensors(InferResponse.from_grpc(infer(address, infer_request(images, explain=True))), text=False)


def call_predictor(url: str, images: list[bytes]) -> list[Prediction]:
    body = instances(images) | {"signature_name": "explain"}
    rows = httpx.post(f"{url}{V1}:predict", json=body, timeout=30).raise_for_status().json()["predictions"]
    return [
        Prediction(
            np.array(row["probability"]),
            row["label"],
            np.array(row["heatmap"]),
            in_distribution=row["in_distribution"],
            uncertain=row["uncertain"],
        )
        for row in rows
    ]


def call_predictor_grpc(address: str, images: list[bytes]) -> list[Prediction]:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest(inputs={"image_bytes": tf.make_tensor_proto(images)})
    request.model_spec.name, request.model_spec.signature_name = "brain-tumor", "explain"
    with grpc.insecure_channel(address) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    outputs = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
    return [
        Prediction(
            outputs["probability"][index],
            label.decode(),
            outputs["heatmap"][index],
            in_distribution=outputs["in_distribution"][index],
            uncertain=outputs["uncertain"][index],
        )
        for index, label in enumerate(outputs["label"])
    ]
