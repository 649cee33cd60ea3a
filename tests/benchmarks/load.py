"""Load an HTTP server, in a closed loop (a client sends its next request after the response) or an open loop (a fixed rate).

It runs in a process of its own, with requests built beforehand, since it shares the CPU cores with the server. For the most
requests a second that a server can answer use `wrk`, which takes far less processor time.
"""

import asyncio
import itertools
import json
import multiprocessing
import re
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, NamedTuple, Self

import uvloop

Responses = list["Response"]
CLIENT_TIMEOUT_SECONDS = 60
NO_RESPONSE = 0
HEAD_LIMIT_BYTES = 2**20
BODY_START_BYTES = 400
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CONNECTION_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d+\r\n", re.IGNORECASE)


class Response(NamedTuple):
    """The response to one request, or its failure.

    Attributes:
        request: index in the list of requests.
        due: scheduled time of the request, by `time.monotonic()`, which all processes of a machine share.
        seconds: duration from `due` to the last byte of the response.
        status: HTTP status; `NO_RESPONSE` if the connection failed or timed out.
        retry_after: whether the response has a Retry-After header.
        start: first bytes of the body.
    """

    request: int
    due: float
    seconds: float
    status: int
    retry_after: bool
    start: bytes


class Load:
    """A process that sends requests to one server."""

    def __init__(self, port: int):
        self._port = port
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        self._process.submit(time.monotonic).result()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.shutdown()

    def cpu_seconds(self) -> float:
        """Return the processor time of this process so far."""
        return self._process.submit(time.process_time).result()

    def closed(self, requests: list[bytes], *, clients: int, seconds: float) -> "Future[Responses]":
        """Let each client send the requests of the list in turn, for a number of seconds."""
        return self._process.submit(_run_closed, self._port, requests, clients, seconds)

    def once(self, requests: list[bytes], *, clients: int) -> "Future[Responses]":
        """Let the clients send each request of the list once."""
        return self._process.submit(_run_closed, self._port, requests, clients, None)

    def opened(self, requests: list[bytes], *, rate: float, seconds: float) -> "Future[Responses]":
        """Send requests at a rate per second, independent of the responses."""
        return self._process.submit(_run_open, self._port, requests, rate, seconds)


def multipart(path: str, data: bytes) -> bytes:
    """Build a POST of an image in the form field `file`."""
    boundary = b"----image"
    part = b'Content-Disposition: form-data; name="file"; filename="image"\r\nContent-Type: application/octet-stream'
    body = b"--%s\r\n%s\r\n\r\n%s\r\n--%s--\r\n" % (boundary, part, data, boundary)
    return (
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n%s"
        % (path.encode(), boundary, len(body), body)
    )


def json_post(path: str, document: dict[str, Any]) -> bytes:
    """Build a POST of a JSON document."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection:
    """A client's persistent connection; it reconnects if the server closed it."""

    def __init__(self, port: int):
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, position: int, request: bytes, due: float) -> Response:
        status, head, body = NO_RESPONSE, b"", b""
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
                head, body = await self._exchange(request)
                status = int(head.split(b" ", 2)[1])
        except (OSError, EOFError, TimeoutError):
            self.close()
        seconds = time.monotonic() - due
        return Response(position, due, seconds, status, bool(RETRY_AFTER.search(head)), body[:BODY_START_BYTES])

    async def _exchange(self, request: bytes) -> tuple[bytes, bytes]:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=HEAD_LIMIT_BYTES)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(head)
        if length is None:
            raise ValueError(f"expected a response with Content-Length, got {head!r}")
        body = await reader.readexactly(int(length[1]))
        if CONNECTION_CLOSE.search(head):
            self.close()
        return head, body

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


def _run_closed(port: int, requests: list[bytes], clients: int, seconds: float | None) -> Responses:
    return _run(_closed(port, requests, clients, seconds))


def _run_open(port: int, requests: list[bytes], rate: float, seconds: float) -> Responses:
    return _run(_open(port, requests, rate, seconds))


def _run(work: Coroutine[Any, Any, Responses]) -> Responses:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _closed(port: int, requests: list[bytes], clients: int, seconds: float | None) -> Responses:
    responses: Responses = []
    numbered: Iterable[tuple[int, bytes]] = enumerate(requests)
    turns = iter(numbered if seconds is None else itertools.cycle(numbered))
    end = float("inf") if seconds is None else time.monotonic() + seconds

    async def client(turns: Iterator[tuple[int, bytes]]) -> None:
        connection = Connection(port)
        while (now := time.monotonic()) < end and (turn := next(turns, None)):
            responses.append(await connection.send(*turn, due=now))
        connection.close()

    await asyncio.gather(*(client(turns) for _ in range(clients)))
    return responses


async def _open(port: int, requests: list[bytes], rate: float, seconds: float) -> Responses:
    responses: Responses = []
    idle: list[Connection] = []

    async def one(position: int, due: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        responses.append(await connection.send(position, requests[position], due))
        idle.append(connection)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(one(number % len(requests), due))
    for connection in idle:
        connection.close()
    return responses
