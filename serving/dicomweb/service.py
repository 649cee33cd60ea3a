"""The transformer: its model, and its response for a series."""

import uuid
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from serving.dicomweb.errors import SERVICE_CODES, StepError
from serving.dicomweb.http import BearerToken, HttpClient, Response, check_status
from serving.dicomweb.settings import Settings

PREDICT_SECONDS = 600.0  # longer than the service works on a series
MAX_SLICES = 512  # of a series that the service takes
MAX_SERIES_BYTES = 512 * 2**20
MAX_MESSAGE = 200
# What the service, or a proxy in front of it, answers when it fails, and not when it is busy or does not accept the token.
FAILURES = ("unreachable", "timeout", "unavailable", "invalid_answer", "too_large")


class Service:
    """A client of the transformer. Every method raises `StepError`."""

    def __init__(self, settings: Settings):
        self._http = HttpClient(settings.api_url, BearerToken(settings.api_token) if settings.api_token else None)

    def model(self) -> tuple[str, str]:
        """Return name and version of the model that is served."""
        response = self._http.request("predict", "GET", "/model")
        check_status("predict", response)
        return _name_and_version(response.json("predict"))

    def predict(self, files: Iterable[bytes], highest: int) -> dict[str, Any]:
        """Return the response of POST /series, whose slices are complete. A failure of a service that was ready is a suspect one.

        Args:
            files: The encoded images; each is sent before the next one is taken. What it raises passes through.
            highest: Number of slices with heatmap and overlay.
        """
        was_ready = self._is_ready()
        try:
            return self._predict(files, highest)
        except StepError as error:
            error.is_suspect = was_ready and not error.is_permanent and error.code in FAILURES
            raise

    def _is_ready(self) -> bool:
        try:
            return self._http.request("predict", "GET", "/readyz").status == HTTPStatus.OK
        except StepError:
            return False

    def _predict(self, files: Iterable[bytes], highest: int) -> dict[str, Any]:
        boundary = uuid.uuid4().hex
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        body = _form(boundary, files, highest)
        response = self._http.request(
            "predict", "POST", "/series", headers=headers, body=body, seconds=PREDICT_SECONDS, read_seconds=PREDICT_SECONDS
        )
        _check_accepted(response)
        answer = response.json("predict")
        try:
            _name_and_version(answer)
            is_whole = all(isinstance(entry["file"], int) for entry in answer["slices"])
            is_whole &= all(0 <= entry["slice"] < len(answer["slices"]) for entry in answer["highest"])
        except (KeyError, TypeError):
            is_whole = False
        if not is_whole or not answer["slices"]:
            raise StepError("predict", "invalid_answer", "the response is none of POST /series")
        return answer


def _form(boundary: str, files: Iterable[bytes], highest: int) -> Iterator[bytes]:
    """Generate a form (RFC 7578). It has no file names: the names of files are patient data."""
    part = f"--{boundary}\r\nContent-Disposition: form-data; name="
    yield f'{part}"highest"\r\n\r\n{highest}\r\n'.encode()
    for file in files:
        yield f'{part}"file"; filename="slice"\r\nContent-Type: application/dicom\r\n\r\n'.encode()
        yield file
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _check_accepted(response: Response) -> None:
    """Check the status, with code and message of the service for a rejection; they have no patient data."""
    try:
        check_status("predict", response)
    except StepError as error:
        try:
            document = response.json("predict")
        except StepError:
            document = None
        if error.is_permanent and isinstance(document, dict) and document.get("code") in SERVICE_CODES:
            message = str(document.get("error", ""))[:MAX_MESSAGE]
            raise StepError("predict", document["code"], message, is_permanent=True) from None
        raise


def _name_and_version(document: Any) -> tuple[str, str]:
    """Return name and version, which model.json has at its top and a response under `model`."""
    model = document.get("model", document) if isinstance(document, dict) else {}
    name, version = (model.get(key) if isinstance(model, dict) else None for key in ("name", "version"))
    if not isinstance(name, str) or not isinstance(version, str | int):
        raise StepError("predict", "invalid_answer", "the response states no model name and version")
    return name, str(version)  # model.json has it as a number
