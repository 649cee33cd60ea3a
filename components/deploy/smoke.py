"""Ask a service whether it serves a version as it should, with a phantom: an image that is nobody's."""

import base64
from collections.abc import Callable
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from brain_tumor.phantoms import phantom_pngs
from components.deploy.kubernetes_api import NotReadyError, ServiceProxyError

# No Service or no pod behind it yet, busy, loading, or slow for the first request.
RETRYABLE_STATUSES = (404, 429, 503, 504)


class SmokeError(InputError):
    """A service answers, and not as it should. The message says what came and what was wanted."""


def smoke_test(call_service: Callable[..., Any], version: str) -> None:
    """Ask for the card and for the explanation of a phantom.

    Args:
        call_service: takes a path, and for a POST a body.
        version: that shall answer.

    Raises:
        NotReadyError: nothing answers yet, or another version does.
        ServiceError: the service answers with an error.
        SmokeError: an answer breaks the contract.
    """
    encoded = base64.b64encode(phantom_pngs(1)[0]).decode()
    try:
        card = call_service("/model")
        answer = call_service(f"/v1/models/{MODEL_NAME}:explain", {"instances": [{"image_bytes": {"b64": encoded}}]})
    except ServiceProxyError as error:
        if error.status in RETRYABLE_STATUSES:
            raise NotReadyError(str(error)) from error
        raise
    check_answer(answer, card, version)


def check_answer(answer: Any, card: Any, version: str) -> None:
    """Check what came for one phantom.

    Args:
        answer: of V1's `:explain`.
        card: model.json of the service that answered.
        version: that shall have answered.

    Raises:
        NotReadyError: another version answered.
        SmokeError: no prediction, a label that is no class, or a probability out of [0, 1].
    """
    try:
        (prediction,) = answer["predictions"]
        came, label, classes = prediction["model"]["version"], prediction["label"], card["classes"]
        probability = prediction["probability"]
        values = list(probability.values()) if isinstance(probability, dict) else [probability]
        within = all(0 <= value <= 1 for value in values)
    except (KeyError, TypeError, ValueError) as error:
        raise SmokeError(f"the answer to a phantom is no prediction: {type(error).__name__}: {error}") from error
    if str(came) != version:  # pods are replaced one after the other
        raise NotReadyError(f"version {came} answers, wanted version {version}")
    if label not in classes:
        raise SmokeError(f"a phantom is labelled {label!r}, wanted one of {', '.join(classes)}")
    if not within:
        raise SmokeError(f"the probability of a phantom is {probability}, wanted one within 0 to 1")
    if not prediction.get("heatmap"):
        raise SmokeError("a phantom is not explained: the answer holds no heatmap")
