"""KServe's V1 protocol, and the prediction object that it shares with /predict."""

import binascii
import codecs
from typing import Any

import orjson

from brain_tumor.model_card import ModelCard
from serving.base64_text import decode_base64
from serving.errors import ServiceError
from serving.inference import WARNINGS, ImageRequest, ImageResult
from serving.settings import MAX_IMAGES

MAX_JSON_VALUES = 10_000


def read_body(body: bytes) -> ImageRequest:
    """Read `{"instances": [{"image_bytes": {"b64": ...}}]}`, or by column `{"inputs": {"image_bytes": [{"b64": ...}]}}`.

    As in TensorFlow Serving, an instance may be a bare `{"b64": ...}`, the only column may lack its name, and `signature_name`
    may choose `serving_default` or `explain`.

    The key `frame` of an instance chooses one of several images in its file.

    Raises:
        ServiceError: `bad_request` (invalid JSON or base64, or an unknown signature) or `wrong_shape`.
    """
    document = read_json(body)
    document = document if isinstance(document, dict) else {}
    columnar = "inputs" in document
    if columnar and "instances" in document:
        raise ServiceError("wrong_shape", "body: got both `instances` and `inputs`, expected one of them")
    name = "inputs" if columnar else "instances"
    images = document.get(name)
    if columnar and isinstance(images, dict) and set(images) == {"image_bytes"}:
        images = images["image_bytes"]
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_IMAGES:
        got = f"{len(images)} {name}" if isinstance(images, list) else f"no list `{name}`"
        raise ServiceError("wrong_shape", f"body: got {got}, expected a list `{name}` of 1 to {MAX_IMAGES}")
    items = [(image, f"{name}[{index}]") for index, image in enumerate(images)]
    encoded = [_image(image, item) for image, item in items]
    frames = tuple(check_frame(image.get("frame"), f"{item}: `frame`") for image, item in items)
    return ImageRequest(encoded, _read_signature(document), list_name=name, frames=frames, columnar=columnar)


def _read_signature(document: dict[str, Any]) -> bool | None:
    """Return whether the body chooses the signature `explain`; None if the choice is left to the route."""
    name = document.get("signature_name")
    if name not in (None, "", "serving_default", "explain"):
        raise ServiceError("bad_request", "signature_name: expected `serving_default` or `explain`")
    return name == "explain" if name else None


def read_json(body: bytes) -> Any:
    """Parse JSON by RFC 8259: UTF-8, with or without a BOM, no NaN, with limits on its depth and on the number of its values.

    Raises:
        ServiceError: `bad_request`, or `wrong_shape` for too many values, since each takes many times its size in memory.
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MAX_JSON_VALUES:  # none of them is part of base64
        raise ServiceError("wrong_shape", f"body: expected JSON of at most {MAX_JSON_VALUES:,} values")
    try:
        return orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise ServiceError("bad_request", f"body: not valid JSON: {error.msg} at line {error.lineno}") from None


def check_frame(value: Any, item: str) -> int | None:
    """Return the number of an image in a file, or None if there is none.

    Raises:
        ServiceError: `wrong_shape`, if it is no whole number.
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ServiceError("wrong_shape", f"{item}: expected a whole number, from 1")
    return value


def response(request: ImageRequest, card: ModelCard) -> dict[str, Any]:
    """Return `{"predictions": [...]}`, or by column `{"outputs": {field: [...]}}`."""
    predictions = [prediction(result, card) for result in request.results]
    if request.columnar:
        return {"outputs": {field: [each[field] for each in predictions] for field in predictions[0]}}
    return {"predictions": predictions}


def prediction(result: ImageResult, card: ModelCard) -> dict[str, Any]:
    """Return the prediction object of one image."""
    probabilities = card.probabilities(result.probability)
    fields: dict[str, Any] = {
        "label": result.label,
        "probability": result.probability[0] if card.threshold is not None else probabilities,
        "threshold": card.threshold,
        "confidence": result.confidence,
        "in_distribution": result.in_distribution,
        "uncertain": result.uncertain,
        "explanation": card.explanation,
        "model": {"name": card.name, "version": card.version},
        "warnings": [WARNINGS[code] for code in result.warning_codes],
        "warning_codes": result.warning_codes,
    }
    if result.heatmap is not None and result.overlay is not None:
        shape = [len(result.heatmap), len(result.heatmap[0])]
        values = [value for row in result.heatmap for value in row]
        fields["heatmap"] = {"shape": shape, "values": values, "label": result.label}
        fields["overlay_png"] = binascii.b2a_base64(result.overlay, newline=False).decode()
    return fields


def _image(instance: Any, item: str) -> bytes:
    field = instance.get("image_bytes", instance) if isinstance(instance, dict) else None
    text = field.get("b64") if isinstance(field, dict) else None
    if not isinstance(text, str):
        raise ServiceError("wrong_shape", f'{item}: expected {{"image_bytes": {{"b64": "<base64 of an image file>"}}}}')
    return decode_base64(text, item)
