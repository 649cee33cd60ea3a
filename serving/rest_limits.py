"""Limits before every REST route: headers, body size and time, and the number of requests in flight."""

import asyncio
import time
import uuid
from collections.abc import Iterator

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access_log import record_request
from serving.concurrency_limit import ConcurrencyLimit
from serving.connection_limits import TOO_MANY_CONNECTIONS
from serving.content_coding import BodyDecoder
from serving.errors import RETRY_AFTER_SECONDS, ServiceError, convert_and_log_error
from serving.metrics import Metrics
from serving.settings import CLIENT_TIMEOUT_SECONDS, MAX_BODY_BYTES, Settings

ALLOWED_HEADERS = {
    *(b"host", b"content-type", b"content-length", b"content-encoding", b"inference-header-content-length"),
    *(b"traceparent", b"x-request-id", b"authorization"),
}
UNMETERED_PATHS = {"/", "/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
MULTIPART_BYTES = 64 * 1024  # of a form, in addition to its file
MAX_BUFFERED_BYTES = 4 * MAX_BODY_BYTES  # of all request bodies that are being received
CHUNK_BYTES = 256 * 1024
SERIES = "/series"
STOPPING = f"the service stops before the request has ended; retry in {RETRY_AFTER_SECONDS} s"


class LimitsMiddleware:
    """ASGI middleware that enforces the limits, converts errors, and records each request in log and metrics.

    It receives and decompresses the whole body, with limits on its size, its duration and the memory of all such bodies, before
    the request takes a slot: a slow client blocks no other. The body of a series is passed on while it is received; a series has
    a slot of its own and a time limit. The application sees allowed headers only. Responses are sent in chunks, so that a client
    that does not read them cannot fill the memory.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, concurrency_limit: ConcurrencyLimit):
        self._app, self._settings, self._metrics, self._concurrency_limit = app, settings, metrics, concurrency_limit
        self._series_limit = ConcurrencyLimit(1, metrics, "series")
        self._buffered_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; pass everything other than HTTP on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send)
        headers = [header for header in scope["headers"] if header[0] in ALLOWED_HEADERS]
        # The server sends no body in response to HEAD: it keeps the method in its own scope.
        scope = {**scope, "headers": headers, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
        started = time.perf_counter()
        try:
            await self._handle(scope, receive, response)
        except asyncio.CancelledError:  # by the server alone, when a request has not ended DRAIN_SECONDS after SIGTERM
            await response.send_error(ServiceError("not_ready", STOPPING))
        except Exception as raised:
            await response.send_error(convert_and_log_error(raised, response.request_id))
        finally:
            if scope["path"] not in UNMETERED_PATHS:
                record_request(
                    self._metrics,
                    route=getattr(scope.get("route"), "path", "other"),
                    status=str(response.status),
                    code=response.code,
                    seconds=time.perf_counter() - started,
                    request_id=response.request_id,
                )

    async def _handle(self, scope: Scope, receive: Receive, response: "_Response") -> None:
        if scope.get("state", {}).get("is_surplus") and scope["path"] not in UNMETERED_PATHS:
            raise ServiceError("too_many_connections", TOO_MANY_CONNECTIONS)
        if scope["method"] != "POST":
            await self._app(scope, receive, response)
            return
        is_series = scope["path"] == SERIES
        concurrency_limit = self._series_limit if is_series else self._concurrency_limit
        concurrency_limit.check()
        limit = self._body_limit(scope)
        codings = b",".join(value for name, value in scope["headers"] if name == b"content-encoding")
        body = _Body(receive, BodyDecoder(codings.decode("latin-1"), limit), limit)
        if is_series:
            with concurrency_limit.slot():
                await self._handle_series(scope, body, response)
            return
        replay = _replay(await self._read_body(body), receive)
        with concurrency_limit.slot():
            await self._app(scope, replay, response)

    async def _handle_series(self, scope: Scope, body: "_Body", response: "_Response") -> None:
        try:
            async with asyncio.timeout(self._settings.series_seconds) as timeout:
                await self._app(scope, body.receive, response)
        except TimeoutError:
            if not timeout.expired():
                raise
            message = f"series: not received and classified within {self._settings.series_seconds:g} s"
            raise ServiceError("too_slow" if body.has_ended else "slow_body", message) from None

    def _body_limit(self, scope: Scope) -> int:
        """Return the route's maximum body size in bytes; reject a larger Content-Length, and another type than a form's."""
        headers = dict(scope["headers"])
        limit = MAX_BODY_BYTES
        if scope["path"] in ("/predict", SERIES):
            of_one_file = min(limit, self._settings.max_file_bytes + MULTIPART_BYTES)
            limit = self._settings.max_series_bytes if scope["path"] == SERIES else of_one_file
            if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"multipart/form-data":
                raise ServiceError("unsupported_type", "Content-Type: expected multipart/form-data with the field `file`")
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise ServiceError("too_large", f"body: got {int(declared):,} bytes, expected at most {limit:,}")
        return limit

    async def _read_body(self, body: "_Body") -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
                while (chunk := await body.read()) is not None:
                    chunks.append(chunk)
                    size += len(chunk)
                    self._buffered_bytes += len(chunk)
                    if self._buffered_bytes > MAX_BUFFERED_BYTES:
                        raise ServiceError("too_busy", f"too many large bodies in transfer; retry in {RETRY_AFTER_SECONDS} s")
                return b"".join(chunks)
        except TimeoutError:
            raise ServiceError("slow_body", f"body: not received within {CLIENT_TIMEOUT_SECONDS} s") from None
        finally:
            self._buffered_bytes -= size


class _Body:
    """The body of a request while it is received: decompressed, up to `limit` bytes.

    Attributes:
        has_ended: Whether the whole body was read.
    """

    def __init__(self, receive: Receive, decoder: BodyDecoder, limit: int):
        self._receive, self._decoder, self._limit = receive, decoder, limit
        self._chunks: Iterator[bytes] = iter(())
        self._size = 0
        self._more = True
        self.has_ended = False

    async def read(self) -> bytes | None:
        """Return the next bytes; None at the end.

        Raises:
            ServiceError: `too_large`, or `bad_request` (invalid compression, or the client has gone).
        """
        while (chunk := next(self._chunks, None)) is None:
            if not self._more:
                self._decoder.finish()
                self.has_ended = True
                return None
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ServiceError("bad_request", "body: the client closed the connection before the end")
            self._more = message.get("more_body", False)
            self._chunks = self._decoder.decode(message.get("body", b""))
        self._size += len(chunk)
        if self._size > self._limit:
            raise ServiceError("too_large", f"body: expected at most {self._limit:,} bytes")
        return chunk

    async def receive(self) -> Message:
        """Return the next bytes as the server's `receive` does; they have to come within `CLIENT_TIMEOUT_SECONDS`."""
        if self.has_ended:
            return await self._receive()
        await asyncio.sleep(0)  # a few received bytes may decompress to thousands of chunks
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
                chunk = await self.read()
        except TimeoutError:
            raise ServiceError("slow_body", f"body: nothing received within {CLIENT_TIMEOUT_SECONDS} s") from None
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}


class _Response:
    """Sends a response in chunks, with its request ID, and keeps its status and error code."""

    def __init__(self, send: Send):
        self._send, self._started = send, False
        self.request_id = uuid.uuid4().hex
        self.status = 0
        self.code = ""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self._started = message["status"], True
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id.encode())]
            await self._send(message)
            return
        body = message.get("body", b"")
        last = max(len(body) - 1, 0) // CHUNK_BYTES * CHUNK_BYTES
        for start in range(0, last + 1, CHUNK_BYTES):
            more = start < last or message.get("more_body", False)
            await self._send({"type": "http.response.body", "body": body[start : start + CHUNK_BYTES], "more_body": more})

    async def send_error(self, error: ServiceError) -> None:
        self.code = error.code
        if not self._started:
            response = Response(orjson.dumps({"error": error.detail, "code": error.code}), error.status_code, error.headers)
            response.headers["content-type"] = "application/json"
            await response({"type": "http"}, _receive_nothing, self)


async def _receive_nothing() -> Message:
    return {"type": "http.disconnect"}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body in one message, and then the server's messages."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay
