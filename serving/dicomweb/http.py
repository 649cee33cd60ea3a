"""HTTP requests to the PACS and to the service, with limits on the time and the size of a response."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from serving.dicomweb.errors import StepError

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0  # without a byte
CHUNK_BYTES = 64 * 1024
MAX_JSON_BYTES = 64 * 2**20
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
UNAUTHORIZED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
# Of the urllib3 below requests, whose own exceptions pass through where a body is read.
READ_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


@dataclass(frozen=True)
class Response:
    """A response that was read in full.

    Attributes:
        status: HTTP status.
        content_type: Content-Type; empty without.
        body: The body.
    """

    status: int
    content_type: str
    body: bytes

    def json(self, step: str) -> Any:
        """Return the JSON document; None for an empty body.

        Raises:
            StepError: It is not JSON.
        """
        if not self.body.strip():
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise StepError(step, "invalid_answer", "the response is not JSON") from None


class BearerToken(requests.auth.AuthBase):
    """Sends a token; requests would replace a plain header by what it finds in a `.netrc` file."""

    def __init__(self, token: str):
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header to a request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class HttpClient:
    """A client of one server. It follows no redirection, which could carry the credentials elsewhere."""

    def __init__(self, url: str, auth: requests.auth.AuthBase | None = None, ca: str = ""):
        """Prepare a client.

        Args:
            url: Root URL.
            auth: Credentials.
            ca: File of the certificates that sign the server's; empty for the usual ones.
        """
        self._url, self._verify = url, ca or True
        self._session = requests.Session()
        self._session.auth = auth
        self._session.trust_env = urlsplit(url).hostname not in THIS_MACHINE  # whether a proxy of the environment is used
        self._session.headers["Accept-Encoding"] = "identity"

    def request(
        self,
        step: str,
        method: str,
        path: str,
        *,
        limit_bytes: int = MAX_JSON_BYTES,
        seconds: float = 300.0,
        read_seconds: float = READ_SECONDS,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        body: Iterable[bytes] | bytes | None = None,
    ) -> Response:
        """Send a request and read the response, whatever its status.

        Args:
            step: Step of the gateway, for errors.
            method: HTTP method.
            path: Path below the root URL.
            limit_bytes: Maximum size of the response's body.
            seconds: Maximum duration from the end of the request to the end of the response.
            read_seconds: Maximum time to wait for the next bytes of the response.
            headers: Further headers.
            params: Parameters of the query.
            body: Body; an iterable is sent in chunks as it comes. What it raises passes through.

        Raises:
            StepError: `unreachable`, `timeout`, or `invalid_answer` (too large, or no HTTP).
        """
        try:
            with self._session.request(
                method,
                self._url + path,
                headers=dict(headers or {}),
                params=params,
                data=body,
                timeout=(CONNECT_SECONDS if body is None else READ_SECONDS, read_seconds),  # the first limits sending, too
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _read(response.raw, step, limit_bytes, time.monotonic() + seconds)
                return Response(response.status_code, response.headers.get("Content-Type", ""), content)
        except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
            raise StepError(step, "timeout", "no response in time") from None
        except (requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError):
            raise StepError(step, "invalid_answer", "the response cannot be decompressed") from None
        except READ_ERRORS:
            raise StepError(step, "unreachable", "no connection, or it was closed") from None


def check_status(step: str, response: Response) -> None:
    """Check that a response is a success.

    Raises:
        StepError: With the code of the status. Only a rejection of what was asked for is permanent.
    """
    status = response.status
    if 200 <= status < 300:
        return
    if status in UNAUTHORIZED:
        raise StepError(step, "unauthorized", f"status {status}: the credentials are not accepted")
    if status in BUSY:
        raise StepError(step, "busy", f"status {status}")
    if status >= 500:
        raise StepError(step, "unavailable", f"status {status}")
    if status in GONE:
        raise StepError(step, "not_found", f"status {status}")
    if status < 400:
        raise StepError(step, "invalid_answer", f"status {status}, expected no redirection")
    code = "too_large" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else "rejected"
    raise StepError(step, code, f"status {status}", is_permanent=True)


def _read(raw: Any, step: str, limit_bytes: int, deadline: float) -> bytes:
    chunks, size = [], 0
    while chunk := raw.read1(CHUNK_BYTES, decode_content=True):
        size += len(chunk)
        if size > limit_bytes:
            raise StepError(step, "too_large", f"the response has more than {limit_bytes} bytes")
        if time.monotonic() > deadline:
            raise StepError(step, "timeout", "the response is too slow")
        chunks.append(chunk)
    return b"".join(chunks)
