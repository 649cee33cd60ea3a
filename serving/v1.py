"""KServe's V1 protocol, and the prediction that it shares with /predict."""

import binascii
from typing import Any

import orjson

from brain_tumor.model_card import ModelCard
from serving.errors import ServiceError
from serving.inference import WARNINGS, ImageRequest, ImageResult
from serving.settings import MAX_IMAGES

MAX_JSON_VALUES = 10_000


def read_body(body: bytes) -> ImageRequest:
    """Read `{"instances": [{"image_bytes": {"b64": ...}}]}`; a bare `{"b64": ...}` stands for its image, as in TF Serving.

    Raises:
        ServiceError: `bad_request` (not JSON, or not base64), `wrong_shape`.
    """
    document = read_json(body)
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not 1 <= len(instances) <= MAX_IMAGES:
        came = f"{len(instances)} instances" if isinstance(instances, list) else "no list `instances`"
        raise ServiceError("wrong_shape", f"{came}, wanted a list `instances` of 1 to {MAX_IMAGES}")
    return ImageRequest(
        [_image(instance, f"instances[{index}]") for index, instance in enumerate(instances)], list_name="instances"
    )


def read_json(body: bytes) -> Any:
    """Parse JSON as RFC 8259 has it: UTF-8, no NaN, bounded in depth and in the number of its values.

    Raises:
        ServiceError: `bad_request`, or `wrong_shape` for too many values: each takes many times its size in memory.
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MAX_JSON_VALUES:  # none of them is part of base64
        raise ServiceError("wrong_shape", f"the JSON has more than {MAX_JSON_VALUES:,} values")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ServiceError("bad_request", f"the body is not JSON: {error.msg} at line {error.lineno}") from None


def decode_base64(text: str | bytes, error_prefix: str) -> bytes:
    """Decode base64 of the standard alphabet, padded.

    Raises:
        ServiceError: `bad_request`.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # binascii.Error, or a character outside ASCII
        raise ServiceError("bad_request", f"{error_prefix} is not base64: {error}") from None


def response(request: ImageRequest, card: ModelCard) -> dict[str, list[dict[str, Any]]]:
    """Return `{"predictions": [...]}`."""
    return {"predictions": [_prediction(result, card) for result in request.results]}


def _image(instance: Any, error_prefix: str) -> bytes:
    field = instance.get("image_bytes", instance) if isinstance(instance, dict) else None
    text = field.get("b64") if isinstance(field, dict) else None
    if not isinstance(text, str):
        raise ServiceError("wrong_shape", f'{error_prefix} is not {{"image_bytes": {{"b64": "<base64 of an image file>"}}}}')
    return decode_base64(text, error_prefix)


def _prediction(result: ImageResult, card: ModelCard) -> dict[str, Any]:
    probabilities = card.probabilities(result.probability)
    prediction: dict[str, Any] = {
        "label": result.label,
        "probability": result.probability[0] if card.threshold is not None else probabilities,
        "threshold": card.threshold,
        "confidence": result.confidence,
        "model": {"name": card.name, "version": card.version},
        "warnings": [WARNINGS[reason] for reason in result.warnings],
    }
    if result.heatmap is not None and result.overlay is not None:
        shape = [len(result.heatmap), len(result.heatmap[0])]
        values = [value for row in result.heatmap for value in row]
        prediction["heatmap"] = {"shape": shape, "values": values, "label": result.label}
        prediction["overlay_png"] = binascii.b2a_base64(result.overlay, newline=False).decode()
    return prediction
