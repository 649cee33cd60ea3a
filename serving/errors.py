"""The service's one error, and what each of its codes is in HTTP and in gRPC."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import grpc
from fastapi.exceptions import RequestValidationError
from kserve import errors as kserve_errors
from starlette.exceptions import HTTPException

CODES = {
    "bad_request": (HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    "not_an_image": (HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    "corrupt": (HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    "not_found": (HTTPStatus.NOT_FOUND, grpc.StatusCode.NOT_FOUND),
    "method_not_allowed": (HTTPStatus.METHOD_NOT_ALLOWED, grpc.StatusCode.UNIMPLEMENTED),
    "slow_body": (HTTPStatus.REQUEST_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
    "too_large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "unsupported_type": (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, grpc.StatusCode.INVALID_ARGUMENT),
    "wrong_shape": (HTTPStatus.UNPROCESSABLE_ENTITY, grpc.StatusCode.INVALID_ARGUMENT),
    "too_busy": (HTTPStatus.TOO_MANY_REQUESTS, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, grpc.StatusCode.INTERNAL),
    "predictor_failed": (HTTPStatus.BAD_GATEWAY, grpc.StatusCode.UNAVAILABLE),
    "not_ready": (HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    "too_slow": (HTTPStatus.GATEWAY_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
}
RETRY_AFTER_SECONDS = 1


class ServiceError(HTTPException):
    """A request that gets no answer. `code` is a key of `CODES`, `detail` the message for the client.

    It is an HTTPException so that FastAPI lets it pass where it is raised while a body is read.
    """

    def __init__(self, code: str, message: str):
        retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if code in ("too_busy", "not_ready") else None
        super().__init__(CODES[code][0], message, retry)
        self.code = code

    @property
    def grpc_status(self) -> grpc.StatusCode:
        return CODES[self.code][1]


def as_service_error(error: Exception) -> ServiceError:
    """Give an error of FastAPI or KServe its code; one that nobody foresaw becomes `internal`, without its message."""
    match error:
        case ServiceError():
            return error
        case RequestValidationError():
            return ServiceError("wrong_shape", describe(error.errors()))
        case HTTPException():
            code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
            found = ServiceError(code, error.detail)
            found.headers = error.headers  # Allow
            return found
        case kserve_errors.ModelNotFound() | NotImplementedError():  # KServe's routes of versions are not implemented
            return ServiceError("not_found", "there is no such model here")
        case kserve_errors.InvalidInput() | kserve_errors.InferenceError():
            return ServiceError("wrong_shape", error.reason)
        case kserve_errors.ModelNotReady() | kserve_errors.ServerNotReady():
            return ServiceError("not_ready", "the predictor has not loaded the model yet")
    return ServiceError("internal", "internal error")


def describe(errors: Sequence[Any]) -> str:
    """Say where a body breaks its schema and how, without what stood there."""
    return "; ".join(f"{'.'.join(map(str, error['loc'])) or 'body'}: {error['msg']}" for error in errors[:3])
