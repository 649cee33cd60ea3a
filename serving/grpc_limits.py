"""What stands before every gRPC call, as `limits.py` does before every REST route."""

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from grpc_interceptor.server import AsyncServerInterceptor

from serving.errors import RETRY_AFTER_SECONDS, ServiceError
from serving.limits import Gate, account, settle
from serving.metrics import Metrics


class GrpcLimits(AsyncServerInterceptor):
    """The number in flight, errors, the log line and the request's metrics."""

    def __init__(self, gate: Gate, metrics: Metrics):
        self._gate, self._metrics = gate, metrics

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Let bytes that are no message come to `intercept`, as None: gRPC itself would answer UNKNOWN."""
        handler = await super().intercept_service(continuation, handler_call_details)
        return handler and handler._replace(request_deserializer=_none_if_broken(handler.request_deserializer))

    async def intercept(self, method: Any, request_or_iterator: Any, context: Any, method_name: str) -> Any:
        """Handle one call."""
        name = method_name.rpartition("/")[2]
        infers = name == "ModelInfer"
        request_id, status, code, started = uuid.uuid4().hex, "CANCELLED", "", time.perf_counter()
        try:
            with self._gate.entered() if infers else contextlib.nullcontext():
                if request_or_iterator is None:
                    raise ServiceError("bad_request", "the bytes are no message of this method")
                response = await method(request_or_iterator, context)
            status = "OK"
            return response
        except Exception as raised:
            error = settle(raised, request_id)
            status, code = error.grpc_status.name, error.code
        finally:
            if infers:
                seconds = time.perf_counter() - started
                account(self._metrics, route=name, status=status, code=code, seconds=seconds, request_id=request_id)
        # Out of the handler above, so that what is raised here does not hold the request by its context.
        pushback = (("grpc-retry-pushback-ms", str(RETRY_AFTER_SECONDS * 1000)),) if error.headers else ()
        return await context.abort(error.grpc_status, error.detail, (("x-request-id", request_id), *pushback))


def _none_if_broken(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(message: bytes) -> Any:
        try:
            return deserialize(message)
        except DecodeError:
            return None

    return read
