"""Limits before every gRPC call: size of the message without images, time to receive it, and the number of requests in flight."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_interceptor.server import AsyncServerInterceptor

from serving.access_log import record_request
from serving.concurrency_limit import ConcurrencyLimit
from serving.errors import RETRY_AFTER_SECONDS, RETRYABLE, ServiceError, convert_and_log_error
from serving.metrics import Metrics
from serving.settings import CLIENT_TIMEOUT_SECONDS

MAX_NON_IMAGE_BYTES = 64 * 1024
IMAGE_FIELDS = {(7,), (5, 5, 8)}  # ModelInferRequest's raw_input_contents, and inputs.contents.bytes_contents
IMAGE_PARENT_FIELDS = {(5,), (5, 5)}
VARINT, LENGTH_DELIMITED, FIXED_BYTES = 0, 2, {1: 8, 5: 4}  # wire types


class LimitsInterceptor(AsyncServerInterceptor):
    """Enforces the limits, converts errors, and records each inference request in log and metrics."""

    def __init__(self, concurrency_limit: ConcurrencyLimit, metrics: Metrics):
        self._concurrency_limit, self._metrics = concurrency_limit, metrics

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Pass an invalid or late message to `intercept` as an error: gRPC would answer UNKNOWN, or wait forever."""
        handler = await super().intercept_service(continuation, handler_call_details)
        return handler and grpc.stream_unary_rpc_method_handler(
            _with_received_message(handler.unary_unary), _limited(handler.request_deserializer), handler.response_serializer
        )

    async def intercept(self, method: Any, request_or_iterator: Any, context: Any, method_name: str) -> Any:
        """Handle one call."""
        name = method_name.rpartition("/")[2]
        is_inference = name == "ModelInfer"
        request_id, status, code, started = uuid.uuid4().hex, "CANCELLED", "", time.perf_counter()
        try:
            with self._concurrency_limit.slot() if is_inference else contextlib.nullcontext():
                if isinstance(request_or_iterator, ServiceError):
                    raise request_or_iterator
                response = await method(request_or_iterator, context)
            status = "OK"
            return response
        except Exception as raised:
            error = convert_and_log_error(raised, request_id)
            status, code = error.grpc_status.name, error.code
        finally:
            if is_inference:
                seconds = time.perf_counter() - started
                record_request(self._metrics, route=name, status=status, code=code, seconds=seconds, request_id=request_id)
        # Outside the except block, so that the exception raised here does not keep the request alive through its context.
        pushback = (("grpc-retry-pushback-ms", str(RETRY_AFTER_SECONDS * 1000)),) if error.code in RETRYABLE else ()
        return await context.abort(error.grpc_status, error.detail, (("x-request-id", request_id), *pushback))


def _with_received_message(method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    """Return a method that gets its message from the client's stream: gRPC sets no limit on the time to receive it."""

    async def receive(stream: AsyncIterator[Any], context: Any) -> Any:
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
                message = await anext(stream)
        except TimeoutError:
            message = ServiceError("slow_body", f"message: not received within {CLIENT_TIMEOUT_SECONDS} s")
        except StopAsyncIteration:
            message = ServiceError("bad_request", "message: got none, expected one")
        return await method(message, context)

    return receive


def _limited(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a deserializer that returns a ServiceError for a message that is invalid or over the limit."""

    def read(message: bytes) -> Any:
        try:
            if non_image_bytes(memoryview(message)) > MAX_NON_IMAGE_BYTES:
                return ServiceError("wrong_shape", f"message: expected at most {MAX_NON_IMAGE_BYTES:,} bytes without the images")
            return deserialize(message)
        except (DecodeError, IndexError):
            return ServiceError("bad_request", "message: not a valid request of this method")

    return read


def non_image_bytes(message: memoryview, path: tuple[int, ...] = ()) -> int:
    """Count the bytes of a message outside its images; stop counting above `MAX_NON_IMAGE_BYTES`.

    It reads the wire format (https://protobuf.dev/programming-guides/encoding), since a decoded element takes up to a hundred
    times its encoded size.

    Args:
        message: Encoded ModelInferRequest, or the content of its field `path`.
        path: Field numbers from the outermost message inwards.

    Raises:
        IndexError: The message is truncated.
    """
    counted = position = 0
    while position < len(message) and counted <= MAX_NON_IMAGE_BYTES:
        start = position
        tag, position = _varint(message, position)
        field, wire_type = (*path, tag >> 3), tag & 7
        if wire_type != LENGTH_DELIMITED:
            position = _varint(message, position)[1] if wire_type == VARINT else position + FIXED_BYTES.get(wire_type, 0)
            counted += position - start
            continue
        size, position = _varint(message, position)
        counted += position - start
        if field in IMAGE_PARENT_FIELDS:
            counted += non_image_bytes(message[position : position + size], field)
        elif field not in IMAGE_FIELDS:
            counted += size
        position += size
    return counted


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a number, encoded in seven bits a byte with the lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        value |= (message[position] & 127) << shift
        position += 1
        if message[position - 1] < 128:
            return value, position
    raise IndexError
