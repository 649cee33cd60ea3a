"""Describe errors of downloads over http(s) and from object storage."""

import os
from collections.abc import Iterator
from http import HTTPStatus

from components.errors import FULL, describe_disk_error
from components.uris import redact_credentials

MEANINGS = {
    HTTPStatus.UNAUTHORIZED: "access denied; check the credentials",
    HTTPStatus.FORBIDDEN: "access denied; check the credentials, or whether a signed URI has expired",
    HTTPStatus.NOT_FOUND: "there is no such file or folder",
}
SERVER_ERROR = "the server failed; try again later"


def describe_error(error: Exception) -> str:
    """Describe an error in one line, without the password or signed query of a URI and without a temporary path."""
    causes = list(_causes(error))
    if status := next((status for each in causes if (status := _http_status(each))), None):
        meaning = MEANINGS.get(status) or (SERVER_ERROR if status >= 500 else "the server refused the request")
        return f"HTTP {status.value} {status.phrase}: {meaning}"
    if any("Connect" in type(each).__name__ for each in causes):
        return f"cannot connect to the server: {_connection_failure(causes)}; check the address and the port"
    if isinstance(error, OSError) and error.errno in FULL:
        return str(describe_disk_error(error))
    if isinstance(error, OSError) and error.strerror:  # its text has the path of a temporary file
        return f"{type(error).__name__}: {error.strerror}"
    return f"{type(error).__name__}: {redact_credentials(' '.join(str(error).split()))[:300]}"


def _connection_failure(causes: list[BaseException]) -> str:
    errors = [each for each in reversed(causes) if isinstance(each, OSError) and each.strerror]
    refused = next((os.strerror(each.errno) for each in errors if isinstance(each, ConnectionError) and each.errno), None)
    return refused or next((str(each.strerror) for each in errors), "no answer")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _http_status(error: BaseException) -> HTTPStatus | None:
    """Return the status of an error of aiohttp, botocore or gcsfs, or the one that fsspec's own error stands for."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    candidates = (getattr(error, "status", None), metadata.get("HTTPStatusCode"), getattr(error, "code", None))
    known = {status.value for status in HTTPStatus}
    if status := next((HTTPStatus(each) for each in candidates if isinstance(each, int) and each in known), None):
        return status
    if isinstance(error, OSError) and error.errno:  # of this machine
        return None
    if error.__cause__ or not isinstance(error, (FileNotFoundError, PermissionError)):
        return None
    return HTTPStatus.NOT_FOUND if isinstance(error, FileNotFoundError) else HTTPStatus.FORBIDDEN
