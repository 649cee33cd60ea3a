"""The web page's HTTP client of the service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests

from brain_tumor.model_card import ModelCard
from ui.errors import RequestError, error_from_response, error_of_series
from ui.form import FileForm
from ui.metrics import REQUEST_SECONDS
from ui.series_answer import SeriesAnswer, parse_heatmap, parse_series

CONNECT_TIMEOUT_SECONDS = 3
RESPONSE_TIMEOUT_SECONDS = 30
STATUS_TIMEOUT_SECONDS = 5
SERIES_MARGIN_SECONDS = 15  # in which the service's own error for a series that takes too long arrives
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Prediction:
    """The service's prediction for one image. Numbers are unrounded.

    Attributes:
        probability: Probability of a tumour; above two classes a dict of class to probability.
        threshold: Threshold on `probability`; None above two classes.
        confidence: Probability of `label`.
        version: Version of the model.
        warnings: Reasons not to rely on the prediction, as sentences.
        heatmap: Explanation of `label`, float32 [h, w], 0-1.
        warning_codes: Code of each of `warnings`; empty from an early service.
        in_distribution: Likeness to the training images, 0-1; None from an early service.
        uncertain: Whether the model cannot tell the classes apart; None from an early service.
        explanation: Method of the heatmap.
    """

    label: str
    probability: float | dict[str, float]
    threshold: float | None
    confidence: float
    version: str
    warnings: tuple[str, ...]
    heatmap: np.ndarray
    warning_codes: tuple[str, ...] = ()
    in_distribution: float | None = None
    uncertain: bool | None = None
    explanation: str = ModelCard.explanation


@dataclass(frozen=True)
class ServiceClient:
    """A client of the service at `url`. Sends `token` unless it is empty."""

    url: str
    token: str = ""

    def explain(self, image: bytes, frame: int | None = None) -> Prediction:
        """Return the prediction for an encoded image, with its heatmap. No file name is sent.

        Args:
            image: Encoded image.
            frame: Number of the image in a file with several, from 1.

        Raises:
            RequestError: The service returns no prediction.
        """
        path = "/predict?explain=true" + (f"&frame={frame}" if frame else "")
        with REQUEST_SECONDS.time():
            document = self._request("POST", path, RESPONSE_TIMEOUT_SECONDS, files={"file": ("slice", image)})
        try:
            return _parse_prediction(document)
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError("wrong_shape") from error

    def read_series(self, files: Sequence[bytes], seconds: float) -> SeriesAnswer:
        """Return the predictions for a series. No file name is sent.

        Args:
            files: Encoded images, or one zip of them.
            seconds: Time after which the service gives a series up.

        Raises:
            RequestError: The service returns no predictions. `file` is the number of the file that is the reason.
        """
        form = FileForm(files)
        try:
            document = self._request(
                "POST",
                "/series",
                seconds + SERIES_MARGIN_SECONDS,
                send_timeout_seconds=RESPONSE_TIMEOUT_SECONDS,
                headers={"Content-Type": form.content_type},
                data=form,
            )
        except RequestError as error:
            raise error_of_series(error) from error
        try:
            return parse_series(document)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise RequestError("wrong_shape") from error

    def check_ready(self) -> None:
        """Check that the service and its model are ready.

        Raises:
            RequestError: They are not.
        """
        self._request("GET", "/readyz", STATUS_TIMEOUT_SECONDS)

    def model_card(self) -> dict[str, Any]:
        """Return model.json.

        Raises:
            RequestError: The service returns none.
        """
        document = self._request("GET", "/model", STATUS_TIMEOUT_SECONDS)
        if not isinstance(document, dict) or "version" not in document or "classes" not in document:
            raise RequestError("wrong_shape")
        return document

    def _request(
        self,
        method: str,
        path: str,
        timeout_seconds: float,
        *,
        send_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,  # of the connection, and of each part that is sent
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> Any:
        headers = {**(headers or {}), **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        timeouts = (send_timeout_seconds, timeout_seconds)
        try:
            with requests.Session() as session:
                session.trust_env = urlsplit(self.url).hostname not in THIS_MACHINE  # whether a proxy of the environment is used
                response = session.request(
                    method, self.url + path, headers=headers, timeout=timeouts, allow_redirects=False, **content
                )
        except requests.Timeout as error:
            raise RequestError("timeout") from error
        except requests.RequestException as error:
            raise RequestError("unreachable") from error
        try:
            body = response.json()
        except requests.JSONDecodeError:
            body = None
        if response.status_code != requests.codes.ok:
            raise error_from_response(response.status_code, body)
        return body


def _parse_prediction(document: Any) -> Prediction:
    return Prediction(
        label=document["label"],
        probability=document["probability"],
        threshold=document["threshold"],
        confidence=document["confidence"],
        version=document["model"]["version"],
        warnings=tuple(document["warnings"]),
        heatmap=parse_heatmap(document["heatmap"]),
        warning_codes=tuple(map(str, document.get("warning_codes", ()))),
        in_distribution=document.get("in_distribution"),
        uncertain=document.get("uncertain"),
        explanation=str(document.get("explanation", Prediction.explanation)),
    )
