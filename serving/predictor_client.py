"""Ask TensorFlow Serving over REST, with one pool of connections."""

import asyncio
import binascii
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from serving.errors import ServiceError

FORWARDED = ("traceparent", "x-request-id", "authorization")
PRINTABLE = re.compile(r"[\x20-\x7e]{1,8192}")


class PredictorClient:
    """One predictor and one model.

    Args:
        host: host and REST port.
        model: its name there.
        timeout_seconds: of a whole call, connecting included.
    """

    def __init__(self, host: str, model: str, timeout_seconds: float):
        self._address = f"http://{host}/v1/models/{model}"
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def predict(self, signature: str, images: list[bytes], headers: Mapping[str, str]) -> list[dict[str, Any]]:
        """Send encoded images through a signature and return its outputs, a row an image.

        Of the client's headers only `FORWARDED` go along.

        Raises:
            ServiceError: `predictor_failed`, `not_ready` or `too_slow`.
        """
        status, result = await self._post(_body(signature, images), _forwarded(headers))
        if status == 503:
            raise ServiceError("not_ready", "the model is not ready yet: try again in a moment")
        rows = _rows(result) if status == 200 else None
        if rows is None or len(rows) != len(images):
            raise ServiceError("predictor_failed", f"the predictor failed (status {status})")
        return rows

    async def is_available(self, version: str) -> bool:
        """Tell whether the predictor has loaded this version of the model."""
        try:
            async with asyncio.timeout(self._timeout_seconds), self._open().get(self._address) as response:
                states = orjson.loads(await response.read())["model_version_status"]
                return any(state["state"] == "AVAILABLE" and str(state["version"]) == version for state in states)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
            return False

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                try:
                    return await self._post_once(body, headers)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    # A kept connection that the predictor had closed; asking twice changes nothing there.
                    return await self._post_once(body, headers)
        except TimeoutError as error:
            raise ServiceError("too_slow", f"the predictor took longer than {self._timeout_seconds:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise ServiceError("not_ready", "the predictor cannot be reached: try again in a moment") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceError("predictor_failed", "the connection to the predictor broke off") from error

    async def _post_once(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        async with self._open().post(f"{self._address}:predict", data=body, headers=headers, allow_redirects=False) as response:
            return response.status, await response.read()

    def _open(self) -> aiohttp.ClientSession:
        """Return the session; it belongs to the event loop that runs, so it is made at the first call."""
        if self._session is None:
            # The number in flight is bounded before this, so the pool needs no bound of its own.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
            json = {"Content-Type": "application/json"}
            self._session = aiohttp.ClientSession(connector=connector, headers=json, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


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
