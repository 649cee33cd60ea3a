"""The Open Inference Protocol (V2) over REST, its binary extension, and gRPC.

In JSON, BYTES elements are base64 text in requests and responses. Everywhere else they are raw bytes.
"""

import binascii
import re
import uuid
from typing import Any

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import to_http_parameters
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from pydantic import ValidationError

from brain_tumor.model_card import ModelCard
from serving.base64_text import decode_base64
from serving.errors import ServiceError, describe_violations
from serving.inference import WARNINGS, ImageRequest
from serving.settings import MAX_IMAGES
from serving.v1 import check_frame, read_json

TENSOR = "image_bytes"
OUTPUTS = ("probability", "label", "in_distribution", "uncertain")
EXPLAIN_OUTPUTS = (*OUTPUTS, "heatmap", "overlay_png")
DATATYPES = {"f": "FP32", "b": "BOOL", "O": "BYTES"}  # by the kind of the array


def read_rest(body: bytes, json_length: str | None, model_name: str) -> InferRequest:
    """Read the body of a REST request.

    Args:
        body: JSON, in the binary extension followed by the raw tensor.
        json_length: Header Inference-Header-Content-Length of the binary extension, the length of the JSON in bytes; else None.
        model_name: Name of the model in the URL.

    Raises:
        ServiceError: `bad_request` or `wrong_shape`.
    """
    end = len(body) if json_length is None else _parse_length(json_length, len(body))
    document, blob = read_json(body[:end]), body[end:]
    if blob and isinstance(document, dict) and isinstance(document.get("inputs"), list):
        document["inputs"] = [tensor | {"data": []} for tensor in document["inputs"] if isinstance(tensor, dict)]
    try:
        parsed = InferRequest.from_inference_request(InferenceRequest.model_validate(document), model_name)
    except ValidationError as error:
        raise ServiceError("wrong_shape", describe_violations(error.errors())) from None
    if blob and (len(parsed.inputs) != 1 or (parsed.inputs[0].parameters or {}).get("binary_data_size") != len(blob)):
        raise ServiceError(
            "wrong_shape", f"got {len(blob)} bytes after the JSON, expected one input with this `binary_data_size`"
        )
    return InferRequest(
        model_name,
        parsed.inputs,
        request_id=parsed.id,
        raw_inputs=[blob] if blob else None,
        parameters=parsed.parameters,
        request_outputs=parsed.request_outputs,
    )


def _parse_length(text: str, limit: int) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) > limit:
        raise ServiceError("bad_request", f"Inference-Header-Content-Length: expected a number up to the body's {limit:,} bytes")
    return int(text)


def read_request(request: InferRequest) -> ImageRequest:
    """Extract the images from a V2 request.

    Raises:
        ServiceError: `wrong_shape`, or `bad_request` if an element is not base64.
    """
    if len(request.inputs) != 1 or request.inputs[0].name != TENSOR or request.inputs[0].datatype != "BYTES":
        raise ServiceError("wrong_shape", f"inputs: expected exactly one, the BYTES tensor `{TENSOR}`")
    parameters, of_tensor = (to_http_parameters(each.parameters or {}) for each in (request, request.inputs[0]))
    frame = check_frame(parameters.get("frame", of_tensor.get("frame")), "parameter `frame`")
    explain = parameters.get("explain", False)
    if not isinstance(explain, bool):
        raise ServiceError("wrong_shape", "parameter `explain`: expected true or false")
    available = EXPLAIN_OUTPUTS if explain else OUTPUTS
    if any(output.name not in available for output in request.request_outputs or ()):
        raise ServiceError("wrong_shape", f"outputs: got an unknown name, expected any of {', '.join(available)}")
    elements = _elements(request.inputs[0])
    if frame is not None and len(elements) != 1:
        raise ServiceError("wrong_shape", f"parameter `frame`: got {len(elements)} elements, expected a tensor of one")
    encoded = [
        element if isinstance(element, bytes) else decode_base64(element, f"{TENSOR}[{index}]")
        for index, element in enumerate(elements)
    ]
    return ImageRequest(encoded, explain, TENSOR, (frame,) * len(encoded), request)


def response(request: ImageRequest, card: ModelCard, v2_request: InferRequest) -> InferResponse:
    """Return the results as tensors: those that the request names, or all."""
    tensors: dict[str, np.ndarray] = {
        "probability": np.array([result.probability for result in request.results], np.float32),
        "label": np.array([result.label.encode() for result in request.results], np.object_),
        "in_distribution": np.array([result.in_distribution for result in request.results], np.float32),
        "uncertain": np.array([result.uncertain for result in request.results], np.bool_),
    }
    if request.explain:
        tensors["heatmap"] = np.array([result.heatmap for result in request.results], np.float32)
        tensors["overlay_png"] = np.array([result.overlay for result in request.results], np.object_)
    binary = {output.name: output.binary_data for output in v2_request.request_outputs or ()}
    names = list(binary) or list(tensors)
    raw = {name for name in names if v2_request.from_grpc or binary.get(name, v2_request.use_binary_outputs)}
    return InferResponse(
        v2_request.id or str(uuid.uuid4()),
        card.name,
        [_output(name, tensors[name], raw=name in raw) for name in names],
        model_version=card.version,
        parameters=_parameters(request, card, v2_request),
        use_binary_outputs=v2_request.use_binary_outputs,
        requested_outputs=v2_request.request_outputs,
    )


def _elements(tensor: InferInput) -> list[Any]:
    count, *rest = tensor.shape or [0]
    if rest not in ([], [1]) or not 1 <= count <= MAX_IMAGES:
        shape = list(tensor.shape)
        raise ServiceError("wrong_shape", f"`{TENSOR}`: got shape {shape}, expected [N] with N from 1 to {MAX_IMAGES}")
    if tensor._raw_data is not None:
        return _unpack(tensor._raw_data, count)
    elements = [element for row in tensor.data for element in (row if isinstance(row, list) else [row])]
    if len(elements) != count:
        raise ServiceError("wrong_shape", f"`{TENSOR}`: got {len(elements)} elements, expected {count} by its shape")
    if not all(isinstance(element, bytes | str) for element in elements):
        raise ServiceError("wrong_shape", f"`{TENSOR}`: expected elements of bytes (in JSON: base64 text)")
    return elements


def _unpack(blob: bytes, count: int) -> list[bytes]:
    """Split a raw BYTES tensor, in which each element follows its length, a four-byte little-endian number."""
    elements: list[bytes] = []
    position = 0
    while len(elements) < count and position + 4 <= len(blob):
        length = int.from_bytes(blob[position : position + 4], "little")
        elements.append(blob[position + 4 : position + 4 + length])
        position += 4 + length
    if len(elements) != count or position != len(blob):
        raise ServiceError("wrong_shape", f"`{TENSOR}`: expected {count} raw elements, each after its length")
    return elements


def _output(name: str, tensor: np.ndarray, *, raw: bool) -> InferOutput:
    output = InferOutput(name, list(tensor.shape), DATATYPES[tensor.dtype.kind])
    if raw:
        output.set_data_from_numpy(tensor, binary_data=True)
    elif output.datatype == "BYTES":
        output.data = [binascii.b2a_base64(element, newline=False).decode() for element in tensor]
    else:
        output.data = tensor.ravel().tolist()
    return output


def _parameters(request: ImageRequest, card: ModelCard, v2_request: InferRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = {"classes": ",".join(card.classes)}
    if card.threshold is not None:
        # gRPC's InferParameter has no floating-point number.
        parameters["threshold"] = str(card.threshold) if v2_request.from_grpc else card.threshold
    codes = dict.fromkeys(code for result in request.results for code in result.warning_codes)
    warnings = [WARNINGS[code] for code in codes]
    return parameters | ({"warnings": "; ".join(warnings)} if warnings else {})
