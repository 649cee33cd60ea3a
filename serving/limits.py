"""What stands before every REST route: sizes, the number in flight, headers, the log line and the request's metrics."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.errors import ServiceError, as_service_error
from serving.logs import logger
from serving.metrics import Metrics
from serving.settings import BODY_TIMEOUT_SECONDS, MAX_BODY_BYTES, Settings

ALLOWED_HEADERS = {
    *(b"host", b"content-type", b"content-length", b"inference-header-content-length"),
    *(b"traceparent", b"x-request-id", b"authorization"),
}
UNMETERED_PATHS = {"/", "/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
MULTIPART_BYTES = 64 * 1024  # what a form may have around its file
MAX_BUFFERED_BYTES = 4 * MAX_BODY_BYTES  # of all bodies that are being read
MAX_HEAD_BYTES = 64 * 1024
CHUNK_BYTES = 256 * 1024


class ConcurrencyLimit:
    """Lets a bounded number of requests in, of REST and gRPC together."""

    def __init__(self, limit: int, metrics: Metrics):
        self._limit, self._count = limit, 0
        self._gauge = metrics.in_flight

    def check(self) -> None:
        """Raise ServiceError `too_busy` where it is full."""
        if self._count >= self._limit:
            raise ServiceError("too_busy", f"{self._limit} requests are at work: try again in a moment")

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a place, or raise ServiceError `too_busy`."""
        self.check()
        self._count += 1
        self._gauge.set(self._count)
        try:
            yield
        finally:
            self._count -= 1
            self._gauge.set(self._count)


class LimitsMiddleware:
    """ASGI middleware.

    It reads a body whole, with a bound on its size, its time and on all that are being read, before the request takes a place
    in flight: so a slow client keeps nobody out. The application sees allowed headers only, and answers in pieces, so that a
    client which does not read cannot pile answers up in memory.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, gate: ConcurrencyLimit):
        self._app, self._settings, self._metrics, self._gate = app, settings, metrics, gate
        self._waiting_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; what is not HTTP passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send)
        scope["headers"] = [header for header in scope["headers"] if header[0] in ALLOWED_HEADERS]
        started = time.perf_counter()
        try:
            await self._handle(scope, receive, response)
        except Exception as raised:
            await response.send_error(convert_and_log_error(raised, response.request_id))
        finally:
            if scope["path"] not in UNMETERED_PATHS:
                route = getattr(scope.get("route"), "path", "other")
                status, seconds = str(response.status), time.perf_counter() - started
                ids = {"code": response.code, "request_id": response.request_id}
                record_request(self._metrics, route=route, status=status, seconds=seconds, **ids)

    async def _handle(self, scope: Scope, receive: Receive, response: "_Response") -> None:
        if scope["method"] != "POST":
            await self._app(scope, receive, response)
            return
        self._gate.check()
        replay = _replay(await self._read(receive, self._body_limit(scope)), receive)
        with self._gate.slot():
            await self._app(scope, replay, response)

    def _body_limit(self, scope: Scope) -> int:
        """Return the most bytes that the route takes; refuse a body that says it is larger, or is no form where one is wanted."""
        headers = dict(scope["headers"])
        limit = MAX_BODY_BYTES
        if scope["path"] == "/predict":
            limit = min(limit, self._settings.max_file_bytes + MULTIPART_BYTES)
            if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"multipart/form-data":
                raise ServiceError("unsupported_type", "wanted a form, multipart/form-data, with the field `file`")
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise ServiceError("too_large", f"the body has {int(declared):,} bytes, the limit is {limit:,}")
        return limit

    async def _read(self, receive: Receive, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ServiceError("bad_request", "the body broke off")
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    self._waiting_bytes += len(pieces[-1])
                    if size > limit:
                        raise ServiceError("too_large", f"the body has more than {limit:,} bytes, the limit")
                    if self._waiting_bytes > MAX_BUFFERED_BYTES:
                        raise ServiceError("too_busy", "too many large bodies are being read: try again in a moment")
                    if not message.get("more_body"):
                        return b"".join(pieces)
        except TimeoutError:
            raise ServiceError("slow_body", f"the body took longer than {BODY_TIMEOUT_SECONDS} s") from None
        finally:
            self._waiting_bytes -= size


class HeaderLimitProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a bound on a request's head, and on what stands between the pieces of its body."""

    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the head has more than {MAX_HEAD_BYTES:,} bytes, the limit")

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the error form of every route, and hang up."""
        body = orjson.dumps({"error": msg, "code": "bad_request"})
        head = ("HTTP/1.1 400 Bad Request", "content-type: application/json", f"content-length: {len(body)}", "connection: close")
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()


class _Response:
    """Sends a response on, and remembers what it was."""

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
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                await self._send({"type": "http.response.body", "body": body[start : start + CHUNK_BYTES], "more_body": more})

    async def send_error(self, error: ServiceError) -> None:
        self.code = error.code
        if not self._started:
            response = Response(orjson.dumps({"error": error.detail, "code": error.code}), error.status_code, error.headers)
            response.headers["content-type"] = "application/json"
            await response({"type": "http"}, _nothing, self)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body at once, and then what the server says."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay


def convert_and_log_error(raised: Exception, request_id: str) -> ServiceError:
    """Turn whatever was raised into the error to answer, and write down what nobody foresaw.

    The error comes without traceback, cause and context: their frames hold the request's body, and with the error they would
    form a circle that stays in memory until the garbage collector comes round.
    """
    error = as_service_error(raised)
    if error.code == "internal":
        logger.error("failed", exc_info=raised, extra={"fields": {"request_id": request_id}})
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def record_request(metrics: Metrics, *, route: str, status: str, code: str, seconds: float, request_id: str) -> None:
    """Count a request and write its line."""
    metrics.requests.labels(route, status).inc()
    metrics.request_seconds.labels(route).observe(seconds)
    if code:
        metrics.rejected.labels(code).inc()
    fields = {"request_id": request_id, "route": route, "status": status, "code": code, "ms": round(seconds * 1e3, 1)}
    logger.info("request", extra={"fields": {name: value for name, value in fields.items() if value != ""}})
