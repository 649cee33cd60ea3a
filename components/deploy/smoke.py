"""Smoke test: explain a phantom, a synthetic image, with a service and check the response."""

import base64
from collections.abc import Callable
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from brain_tumor.phantoms import phantom_pngs
from components.deploy.kubernetes_api import NotReadyError, ServiceProxyError

# No Service or no pod yet, at capacity, loading the model, or slow on the first request.
RETRYABLE_STATUSES = (404, 429, 503, 504)
TOLERANCE = 1e-6  # of a probability, which the model has in float32


class SmokeError(InputError):
    """A service failed the smoke test. The message states the value received and the value expected."""


def smoke_test(call_service: Callable[..., Any], version: str) -> None:
    """Request the model card and the explanation of a phantom, and check both.

    Args:
        call_service: Function that sends a request. It takes a path and, for a POST, a body.
        version: Model version that must respond.

    Raises:
        NotReadyError: There is no response yet, or another version responds.
        ServiceProxyError: The service returns an error.
        SmokeError: The response violates the API.
    """
    encoded = base64.b64encode(phantom_pngs(1)[0]).decode()
    try:
        model_card = call_service("/model")
        response = call_service(f"/v1/models/{MODEL_NAME}:explain", {"instances": [{"image_bytes": {"b64": encoded}}]})
    except ServiceProxyError as error:
        if error.status in RETRYABLE_STATUSES:
            raise NotReadyError(str(error)) from error
        raise
    check_response(response, model_card, version)


def check_response(response: Any, model_card: Any, version: str) -> None:
    """Check the response to one phantom.

    Args:
        response: Response body of V1's `:explain`.
        model_card: model.json of the service that responded.
        version: Expected model version.

    Raises:
        NotReadyError: Another version responded.
        SmokeError: No prediction, an unknown label, a probability outside [0, 1], a label that contradicts model.json, or
            no heatmap.
    """
    try:
        (prediction,) = response["predictions"]
        served, label, classes = prediction["model"]["version"], prediction["label"], model_card["classes"]
        probability = prediction["probability"]
        values = list(probability.values()) if isinstance(probability, dict) else [probability]
        in_range = all(0 <= value <= 1 for value in values)
    except (KeyError, TypeError, ValueError) as error:
        raise SmokeError(f"the smoke test got no valid prediction: {type(error).__name__}: {error}") from error
    if str(served) != version:  # a rollout replaces pods one by one
        raise NotReadyError(f"model version in the smoke test: got {served}, expected {version}")
    if label not in classes:
        raise SmokeError(f"label in the smoke test: got {label!r}, expected one of {', '.join(classes)}")
    if not in_range:
        raise SmokeError(f"probability in the smoke test: got {probability}, expected 0 to 1")
    if reason := _contradiction(label, probability, model_card):
        raise SmokeError(f"label in the smoke test: got {label!r}, but {reason}: model.json is not the model's")
    if not prediction.get("heatmap"):
        raise SmokeError("heatmap in the smoke test: got none, expected one")


def _contradiction(label: str, probability: Any, model_card: Any) -> str:
    """Return how a label, which the model's graph chooses, contradicts its probability and model.json; empty if it does not."""
    if isinstance(probability, dict):
        largest = max(probability, key=probability.__getitem__)
        is_largest = probability.get(label, 0) >= probability[largest] - TOLERANCE
        return "" if is_largest else f"the largest probability is that of {largest!r}"
    threshold = model_card.get("threshold")
    if threshold is None or abs(probability - threshold) <= TOLERANCE:
        return ""
    expected = model_card["classes"][probability > threshold]
    return "" if label == expected else f"probability {probability:.3g} and threshold {threshold:g} give {expected!r}"
