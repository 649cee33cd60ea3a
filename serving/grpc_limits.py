"""What stands before every gRPC call, as `limits.py` does before every REST route."""

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from grpc_interceptor.server import AsyncServerInterceptor

from serving.errors import RETRY_AFTER_SECONDS, ServiceError
from serving.limits import ConcurrencyLimit, convert_and_log_error, record_request
from serving.metrics import Metrics

MAX_NON_IMAGE_BYTES = 64 * 1024
IMAGE_FIELDS = {(7,), (5, 5, 8)}  # ModelInferRequest's raw_input_contents, and inputs.contents.bytes_contents
IMAGE_PARENT_FIELDS = {(5,), (5, 5)}
VARINT, DELIMITED, FIXED_BYTES = 0, 2, {1: 8, 5: 4}  # kinds of fields


class LimitsInterceptor(AsyncServerInterceptor):
    """The number in flight, errors, the log line and the request's metrics."""

    def __init__(self, gate: ConcurrencyLimit, metrics: Metrics):
        self._gate, self._metrics = gate, metrics

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Let bytes that are no message come to `intercept`, as an error: gRPC itself would answer UNKNOWN."""
        handler = await super().intercept_service(continuation, handler_call_details)
        return handler and handler._replace(request_deserializer=_or_error(handler.request_deserializer))

    async def intercept(self, method: Any, request_or_iterator: Any, context: Any, method_name: str) -> Any:
        """Handle one call."""
        name = method_name.rpartition("/")[2]
        infers = name == "ModelInfer"
        request_id, status, code, started = uuid.uuid4().hex, "CANCELLED", "", time.perf_counter()
        try:
            with self._gate.slot() if infers else contextlib.nullcontext():
                if isinstance(request_or_iterator, ServiceError):
                    raise request_or_iterator
                response = await method(request_or_iterator, context)
            status = "OK"
            return response
        except Exception as raised:
            error = convert_and_log_error(raised, request_id)
            status, code = error.grpc_status.name, error.code
        finally:
            if infers:
                seconds = time.perf_counter() - started
                record_request(self._metrics, route=name, status=status, code=code, seconds=seconds, request_id=request_id)
        # Out of the handler above, so that what is raised here does not hold the request by its context.
        pushback = (("grpc-retry-pushback-ms", str(RETRY_AFTER_SECONDS * 1000)),) if error.headers else ()
        return await context.abort(error.grpc_status, error.detail, (("x-request-id", request_id), *pushback))


def _or_error(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(message: bytes) -> Any:
        try:
            if non_image_bytes(memoryview(message)) > MAX_NON_IMAGE_BYTES:
                return ServiceError("wrong_shape", f"the message has more than {MAX_NON_IMAGE_BYTES:,} bytes beside its images")
            return deserialize(message)
        except (DecodeError, IndexError):
            return ServiceError("bad_request", "the bytes are no message of this method")

    return read


def non_image_bytes(message: memoryview, path: tuple[int, ...] = ()) -> int:
    """Count the bytes of a message that are not those of an image, up to a little above `MAX_NON_IMAGE_BYTES`.

    Read from the wire (https://protobuf.dev/programming-guides/encoding), since once it is decoded an element takes up to a
    hundred times its bytes.

    Args:
        message: encoded ModelInferRequest, or what its fields `path` hold.
        path: field numbers from the outside to here.

    Raises:
        IndexError: the bytes break off.
    """
    beside = position = 0
    while position < len(message) and beside <= MAX_NON_IMAGE_BYTES:
        start = position
        tag, position = _varint(message, position)
        here, kind = (*path, tag >> 3), tag & 7
        if kind != DELIMITED:
            position = _varint(message, position)[1] if kind == VARINT else position + FIXED_BYTES.get(kind, 0)
            beside += position - start
            continue
        size, position = _varint(message, position)
        beside += position - start
        if here in IMAGE_PARENT_FIELDS:
            beside += non_image_bytes(message[position : position + size], here)
        elif here not in IMAGE_FIELDS:
            beside += size
        position += size
    return beside


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        value |= (message[position] & 127) << shift
        position += 1
        if message[position - 1] < 128:
            return value, position
    raise IndexError
