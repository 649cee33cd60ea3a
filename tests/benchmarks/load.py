"""Load an HTTP server: closed loop (each client asks again once it is answered) and open loop (a given rate, answered or not).

It runs in a process of its own, with requests built beforehand: what it costs is taken from the server's cores.
"""

import asyncio
import itertools
import multiprocessing
import re
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, NamedTuple, Self

import uvloop

Answers = list["Answer"]
CLIENT_TIMEOUT_SECONDS = 60
NO_ANSWER = 0
HEAD_LIMIT_BYTES = 2**20
BODY_START_BYTES = 400
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CONNECTION_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d+\r\n", re.IGNORECASE)


class Answer(NamedTuple):
    """What one request came to.

    Attributes:
        request: its position in the list of requests.
        due: when it was to be sent, by `time.monotonic()`, which all processes of a machine share.
        seconds: from `due` until the last byte of the answer.
        status: of HTTP; `NO_ANSWER` where the connection broke or the client lost patience.
        retry_after: whether it carried that header.
        start: the first bytes of the body.
    """

    request: int
    due: float
    seconds: float
    status: int
    retry_after: bool
    start: bytes


class Load:
    """A process that asks one server."""

    def __init__(self, port: int):
        self._port = port
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        self._process.submit(time.monotonic).result()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.shutdown()

    def closed(self, requests: list[bytes], *, clients: int, seconds: float) -> "Future[Answers]":
        """Let each client ask one request after another, in turn from the list, for so many seconds."""
        return self._process.submit(_run_closed, self._port, requests, clients, seconds)

    def once(self, requests: list[bytes], *, clients: int) -> "Future[Answers]":
        """The same, until each request of the list was asked once."""
        return self._process.submit(_run_closed, self._port, requests, clients, None)

    def opened(self, requests: list[bytes], *, rate: float, seconds: float) -> "Future[Answers]":
        """Send so many requests a second, whether or not those before were answered."""
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


class Connection:
    """One client's connection, kept alive, opened anew where the server closed it."""

    def __init__(self, port: int):
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run_signature(self, position: int, request: bytes, due: float) -> Answer:
        status, head, body = NO_ANSWER, b"", b""
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
                head, body = await self._exchange(request)
                status = int(head.split(b" ", 2)[1])
        except (OSError, EOFError, TimeoutError):
            self.close()
        seconds = time.monotonic() - due
        return Answer(position, due, seconds, status, bool(RETRY_AFTER.search(head)), body[:BODY_START_BYTES])

    async def _exchange(self, request: bytes) -> tuple[bytes, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=HEAD_LIMIT_BYTES)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(head)
        if length is None:
            raise ValueError(f"the answer states no length: {head!r}")
        body = await reader.readexactly(int(length[1]))
        if CONNECTION_CLOSE.search(head):
            self.close()
        return head, body

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


def _run_closed(port: int, requests: list[bytes], clients: int, seconds: float | None) -> Answers:
    return _run(_closed(port, requests, clients, seconds))


def _run_open(port: int, requests: list[bytes], rate: float, seconds: float) -> Answers:
    return _run(_open(port, requests, rate, seconds))


def _run(work: Coroutine[Any, Any, Answers]) -> Answers:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _closed(port: int, requests: list[bytes], clients: int, seconds: float | None) -> Answers:
    answers: Answers = []
    numbered: Iterable[tuple[int, bytes]] = enumerate(requests)
    turns = iter(numbered if seconds is None else itertools.cycle(numbered))
    end = float("inf") if seconds is None else time.monotonic() + seconds

    async def client(turns: Iterator[tuple[int, bytes]]) -> None:
        connection = Connection(port)
        while (now := time.monotonic()) < end and (turn := next(turns, None)):
            answers.append(await connection.run_signature(*turn, due=now))
        connection.close()

    await asyncio.gather(*(client(turns) for _ in range(clients)))
    return answers


async def _open(port: int, requests: list[bytes], rate: float, seconds: float) -> Answers:
    answers: Answers = []
    idle: list[Connection] = []

    async def one(position: int, due: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        answers.append(await connection.run_signature(position, requests[position], due))
        idle.append(connection)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(one(number % len(requests), due))
    for connection in idle:
        connection.close()
    return answers
