"""The page's HTTP client of the service."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import requests

from ui.errors import RequestError, error_from_response
from ui.metrics import REQUEST_SECONDS

CONNECT_SECONDS = 3
RESPONSE_TIMEOUT_SECONDS = 30
STATE_SECONDS = 5


@dataclass(frozen=True)
class Prediction:
    """What the service says of one image; every number as it came.

    Attributes:
        probability: of a tumour; above two classes class -> probability.
        threshold: of `probability`; None above two classes.
        confidence: the probability of `label`.
        version: the model's.
        heatmap: Grad-CAM for `label`, float32 [h, w], 0-1.
    """

    label: str
    probability: float | dict[str, float]
    threshold: float | None
    confidence: float
    version: str
    warnings: tuple[str, ...]
    heatmap: np.ndarray


@dataclass(frozen=True)
class ServiceClient:
    """The service at `url`, asked with `token` where there is one."""

    url: str
    token: str = ""

    def explain(self, image: bytes) -> Prediction:
        """Ask what an image shows, and why; its file name is not sent.

        Raises:
            Problem: there is no answer.
        """
        with REQUEST_SECONDS.time():
            document = self._ask("POST", "/predict?explain=true", RESPONSE_TIMEOUT_SECONDS, files={"file": ("slice", image)})
        try:
            return _read_answer(document)
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError("wrong_shape") from error

    def check_ready(self) -> None:
        """Ask whether the model answers.

        Raises:
            Problem: it does not.
        """
        self._ask("GET", "/readyz", STATE_SECONDS)

    def model_card(self) -> dict[str, Any]:
        """Return model.json.

        Raises:
            Problem: there is none.
        """
        document = self._ask("GET", "/model", STATE_SECONDS)
        if not isinstance(document, dict) or "version" not in document or "classes" not in document:
            raise RequestError("wrong_shape")
        return document

    def _ask(self, method: str, path: str, seconds: float, **content: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            response = requests.request(
                method, self.url + path, headers=headers, timeout=(CONNECT_SECONDS, seconds), allow_redirects=False, **content
            )
        except requests.Timeout as error:
            raise RequestError("no_answer") from error
        except requests.RequestException as error:
            raise RequestError("unreachable") from error
        try:
            body = response.json()
        except requests.JSONDecodeError:
            body = None
        if response.status_code != requests.codes.ok:
            raise error_from_response(response.status_code, body)
        return body


def _read_answer(document: Any) -> Prediction:
    heatmap = document["heatmap"]
    return Prediction(
        label=document["label"],
        probability=document["probability"],
        threshold=document["threshold"],
        confidence=document["confidence"],
        version=document["model"]["version"],
        warnings=tuple(document["warnings"]),
        heatmap=np.array(heatmap["values"], np.float32).reshape(heatmap["shape"]),
    )
