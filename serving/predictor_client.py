"""Client of TensorFlow Serving's REST API."""

import asyncio
import binascii
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson

from brain_tumor.phantoms import phantom_pngs
from serving.connection_pool import ConnectionPool
from serving.errors import MODEL_NOT_LOADED, RETRY_AFTER_SECONDS, ServiceError

FORWARDED = ("traceparent", "x-request-id", "authorization")
PRINTABLE = re.compile(r"[\x20-\x7e]{1,8192}")


class RefusedImageError(Exception):
    """The predictor cannot decode an image. `index` is its position in the request."""

    def __init__(self, index: int):
        super().__init__(index)
        self.index = index


class PredictorClient:
    """Sends requests to one model of one predictor.

    Args:
        host: Host and REST port of the predictor.
        model: Name of the model.
        timeout_seconds: Timeout of one call, connection included.
    """

    def __init__(self, host: str, model: str, timeout_seconds: float):
        self._path = f"/v1/models/{model}"
        self._timeout_seconds = timeout_seconds
        self._connections = ConnectionPool(host)

    async def predict(self, signature: str, images: list[bytes], headers: Mapping[str, str]) -> list[dict[str, Any]]:
        """Run a signature on encoded images.

        An image that the predictor cannot decode fails all images of its batch, and TensorFlow Serving also batches those of
        several requests. After such a failure each image is sent once more, alone.

        Args:
            signature: `serving_default` or `explain`.
            images: Encoded images that the model's graph can decode.
            headers: The client's headers; only `FORWARDED` are sent on.

        Returns:
            One row an image: output name -> value.

        Raises:
            RefusedImageError: The predictor cannot decode one of the images.
            ServiceError: `predictor_failed`, `not_ready` or `too_slow`.
        """
        rows = await self._run(signature, images, headers)
        return rows or [await self._run_alone(signature, images, index, headers) for index in range(len(images))]

    async def is_available(self, version: str) -> bool:
        """Check that the predictor has loaded this version of the model."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                _, result = await self._connections.send("GET", self._path, {})
            states = orjson.loads(result)["model_version_status"]
            return any(state["state"] == "AVAILABLE" and str(state["version"]) == version for state in states)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    async def _run(self, signature: str, images: list[bytes], headers: Mapping[str, str]) -> list[dict[str, Any]] | None:
        """Return one row an image; None if the predictor rejects the request."""
        status, result = await self._post(_body(signature, images), _forwarded(headers))
        if status == 400:
            return None
        if status == 503:
            raise ServiceError("not_ready", MODEL_NOT_LOADED)
        rows = _rows(result) if status == 200 else None
        if rows is None or len(rows) != len(images):
            raise ServiceError("predictor_failed", f"the predictor failed or returned an invalid response (status {status})")
        return rows

    async def _run_alone(self, signature: str, images: list[bytes], index: int, headers: Mapping[str, str]) -> dict[str, Any]:
        if rows := await self._run(signature, [images[index]], headers):
            return rows[0]
        # An image before this one, or else a phantom, shows that the predictor serves this signature.
        if index == 0 and not await self._run(signature, [_phantom()], headers):
            raise ServiceError("predictor_failed", f"the predictor rejects every image for the signature `{signature}`")
        raise RefusedImageError(index)

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        headers = headers | {"Content-Type": "application/json"}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                try:
                    return await self._connections.send("POST", f"{self._path}:predict", headers, body)
                except ConnectionResetError:
                    # The predictor had closed the pooled connection. A second call is safe: it changes nothing there.
                    return await self._connections.send("POST", f"{self._path}:predict", headers, body)
        except TimeoutError as error:
            raise ServiceError("too_slow", f"the predictor did not respond within {self._timeout_seconds:g} s") from error
        except ConnectionResetError as error:
            raise ServiceError("predictor_failed", "the predictor closed the connection") from error
        except OSError as error:
            raise ServiceError("not_ready", f"the predictor is unreachable; retry in {RETRY_AFTER_SECONDS} s") from error


@cache
def _phantom() -> bytes:
    return phantom_pngs(1)[0]


def _body(signature: str, images: list[bytes]) -> bytes:
    instances = [{"image_bytes": {"b64": binascii.b2a_base64(data, newline=False).decode()}} for data in images]
    return orjson.dumps({"signature_name": signature, "instances": instances})


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in FORWARDED if PRINTABLE.fullmatch(headers.get(name, ""))}


def _rows(result: bytes) -> list[dict[str, Any]] | None:
    try:
        rows = orjson.loads(result)["predictions"]
    except (ValueError, KeyError, TypeError):
        return None
    return rows if isinstance(rows, list) and all(isinstance(row, dict) and "probability" in row for row in rows) else None
