"""TensorFlow Serving's REST API over one servable."""

import asyncio
import binascii
import re
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from starlette.requests import Request
from starlette.responses import Response

from serving.connection_limits import TOO_MANY_CONNECTIONS
from serving.predictor.model import Model, PredictorError, Servable
from serving.settings import CLIENT_TIMEOUT_SECONDS

PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d{1,18}))?(:predict|/metadata)?")
STATUSES = {"NOT_FOUND": 404, "DEADLINE_EXCEEDED": 408, "UNAVAILABLE": 503}


class RestApi:
    """ASGI application with status, metadata and predict."""

    def __init__(self, servable: Servable):
        self._servable = servable

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one HTTP request."""
        try:
            if scope["state"].get("is_surplus") and scope["method"] != "GET":
                raise PredictorError(TOO_MANY_CONNECTIONS, "UNAVAILABLE")
            status, result = 200, await self._route(scope["method"], scope["path"], await _read_body(scope, receive))
        except PredictorError as error:
            status, result = STATUSES.get(error.code, 400), {"error": str(error)}
        content = orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY)
        await Response(content, status, media_type="application/json")(scope, receive, send)

    async def _route(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        match = PATH.fullmatch(path)
        if not match or method != ("POST" if match[3] == ":predict" else "GET"):
            code = "INVALID_ARGUMENT" if path.startswith("/v1/") else "NOT_FOUND"
            raise PredictorError(f"Malformed request: {method} {path}", code)
        self._servable.check(match[1], int(match[2] or 0))
        if match[3] == ":predict":
            return await self._predict(body)
        return self._metadata() if match[3] else self._status()

    def _status(self) -> dict[str, Any]:
        state = {"version": str(self._servable.version), "state": self._servable.state}
        return {"model_version_status": [state | {"status": {"error_code": "OK", "error_message": ""}}]}

    def _metadata(self) -> dict[str, Any]:
        message = self._servable.metadata()
        document = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        del document["metadata"]["signature_def"]["@type"]
        return document

    async def _predict(self, body: bytes) -> dict[str, Any]:
        signature, images, by_row = read_predict(body, self._servable.model)
        outputs = await self._servable.run(signature, images)
        columns = {name: values.astype(str).tolist() if values.dtype == object else values for name, values in outputs.items()}
        if not by_row:
            return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return {"predictions": rows if len(columns) > 1 else next(iter(columns.values()))}


async def _read_body(scope: Any, receive: Any) -> bytes:
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
            return await Request(scope, receive).body()
    except TimeoutError:
        raise PredictorError(f"body: not received within {CLIENT_TIMEOUT_SECONDS} s", "DEADLINE_EXCEEDED") from None


def read_predict(body: bytes, model: Model) -> tuple[str, list[bytes], bool]:
    """Return the signature that a predict request names, its encoded images, and whether they are in the row format.

    Raises:
        PredictorError: The body is invalid, or the model has no such signature.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PredictorError(f"JSON Parse error: {error}") from None
    keys = [key for key in ("instances", "inputs") if isinstance(document, dict) and key in document]
    if len(keys) != 1:
        raise PredictorError("body: expected a JSON object with either 'instances' or 'inputs'")
    name, input_name = model.signature(document.get("signature_name"))
    values = document[keys[0]]
    values = values.get(input_name) if keys == ["inputs"] and isinstance(values, dict) else values
    if not isinstance(values, list) or not values:
        raise PredictorError(f"{keys[0]}: expected a list with at least one value of {input_name}")
    return name, [read_bytes(value, input_name) for value in values], keys == ["instances"]


def read_bytes(value: Any, input_name: str) -> bytes:
    """Return the bytes of a string in JSON: text, {"b64": ...}, or either of them under the input's name.

    Raises:
        PredictorError: It is none of them.
    """
    value = value[input_name] if isinstance(value, dict) and list(value) == [input_name] else value
    try:
        return value.encode() if isinstance(value, str) else binascii.a2b_base64(value["b64"])
    except (TypeError, KeyError, ValueError):
        raise PredictorError(f'expected a string, {{"b64": "<base64>"}}, or either under the key {input_name}') from None
