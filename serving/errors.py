"""The service's one error class, with the HTTP and gRPC status of each code."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import grpc
from fastapi.exceptions import RequestValidationError
from kserve import errors as kserve_errors
from starlette.exceptions import HTTPException

from serving.logs import logger

CODES = {
    "bad_request": (HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    "not_an_image": (HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    "corrupt": (HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    "several_images": (HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    "invisible": (HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    "not_found": (HTTPStatus.NOT_FOUND, grpc.StatusCode.NOT_FOUND),
    "method_not_allowed": (HTTPStatus.METHOD_NOT_ALLOWED, grpc.StatusCode.UNIMPLEMENTED),
    "slow_headers": (HTTPStatus.REQUEST_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
    "slow_body": (HTTPStatus.REQUEST_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
    "too_large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "unsupported_type": (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, grpc.StatusCode.INVALID_ARGUMENT),
    "wrong_shape": (HTTPStatus.UNPROCESSABLE_ENTITY, grpc.StatusCode.INVALID_ARGUMENT),
    "several_series": (HTTPStatus.UNPROCESSABLE_ENTITY, grpc.StatusCode.INVALID_ARGUMENT),
    "too_many_slices": (HTTPStatus.UNPROCESSABLE_ENTITY, grpc.StatusCode.INVALID_ARGUMENT),
    "too_busy": (HTTPStatus.TOO_MANY_REQUESTS, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, grpc.StatusCode.INTERNAL),
    "predictor_failed": (HTTPStatus.BAD_GATEWAY, grpc.StatusCode.UNAVAILABLE),
    "not_ready": (HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    "too_many_connections": (HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    "too_slow": (HTTPStatus.GATEWAY_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
}
RETRY_AFTER_SECONDS = 1
RETRYABLE = ("too_busy", "not_ready", "too_many_connections")
MODEL_NOT_LOADED = f"the predictor has not loaded the model yet; retry in {RETRY_AFTER_SECONDS} s"


class ServiceError(HTTPException):
    """A rejected or failed request. `code` is a key of `CODES`, `detail` the message for the client.

    FastAPI passes an HTTPException on if it is raised while a body is read; it would convert any other exception.
    """

    def __init__(self, code: str, message: str):
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if code in RETRYABLE else None
        super().__init__(CODES[code][0], message, {"Connection": "close"} if code == "slow_body" else headers)
        self.code = code

    @property
    def grpc_status(self) -> grpc.StatusCode:
        return CODES[self.code][1]


def convert_and_log_error(raised: Exception, request_id: str) -> ServiceError:
    """Convert any exception into the error for the client, and log an unexpected one.

    The result has no traceback, cause or context: their frames refer to the request's body, and together with the error they
    would form a reference cycle that stays in memory until the garbage collector runs.
    """
    error = as_service_error(raised)
    if error.code == "internal":
        logger.error("failed", exc_info=raised, extra={"fields": {"request_id": request_id}})
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def as_service_error(error: Exception) -> ServiceError:
    """Convert an error of FastAPI or KServe; an unexpected one becomes `internal`, without its message."""
    match error:
        case ServiceError():
            return error
        case RequestValidationError():
            return ServiceError("wrong_shape", describe_violations(error.errors()))
        case HTTPException():
            code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
            converted = ServiceError(code, error.detail)
            allowed = (error.headers or {}).get("Allow", "")
            converted.headers = {"Allow": allowed.replace("GET", "GET, HEAD")} if allowed else None
            return converted
        case kserve_errors.ModelNotFound() | NotImplementedError():  # the latter from KServe's own routes with a version
            return ServiceError("not_found", "no such model on this server")
        case kserve_errors.InvalidInput() | kserve_errors.InferenceError():
            return ServiceError("wrong_shape", error.reason)
        case kserve_errors.ModelNotReady() | kserve_errors.ServerNotReady():
            return ServiceError("not_ready", MODEL_NOT_LOADED)
    return ServiceError("internal", "internal error")


def describe_violations(errors: Sequence[Any]) -> str:
    """State where a body violates its schema and how, without the values in it.

    Args:
        errors: Details from pydantic's `ValidationError.errors()`.
    """
    return "; ".join(f"{'.'.join(map(str, error['loc'])) or 'body'}: {error['msg']}" for error in errors[:3])
