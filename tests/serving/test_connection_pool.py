"""The HTTP client of the predictor."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serving.connection_pool import ConnectionPool

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody"
Answers = list[tuple[int, bytes]]


class Server:
    """Responds with the same bytes to each request, and counts connections and requests."""

    def __init__(self, response: bytes, *, then_close: bool = False):
        self.response, self.then_close = response, then_close
        self.connections, self.requests = 0, list[bytes]()

    def respond(self, transport: asyncio.WriteTransport, request: bytes) -> None:
        self.requests.append(request)
        transport.write(self.response)
        if self.then_close:
            transport.close()


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server):
        self._server = server

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        self._transport = transport
        self._server.connections += 1

    def data_received(self, data: bytes) -> None:
        self._server.respond(self._transport, data)


def with_pool(server: Server, calls: Callable[[ConnectionPool], Awaitable[Answers]]) -> Answers:
    async def main() -> Answers:
        listening = await asyncio.get_running_loop().create_server(lambda: _Connection(server), "127.0.0.1", 0)
        async with listening:
            pool = ConnectionPool(f"127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            try:
                return await calls(pool)
            finally:
                pool.close()
                await asyncio.sleep(0.05)  # until both sides have closed their connections

    return asyncio.run(main())


async def twice(pool: ConnectionPool) -> Answers:
    return [await pool.send("POST", "/path", {"Name": "value"}, b"text") for _ in range(2)]


async def at_once(pool: ConnectionPool) -> Answers:
    return list(await asyncio.gather(*(pool.send("GET", "/path", {}) for _ in range(3))))


@pytest.mark.parametrize(("response", "status", "connections"), [(LENGTH, 200, 1), (CHUNKED, 404, 1), (CLOSE, 200, 2)])
def test_connection_is_kept_open_if_the_server_keeps_it(response: bytes, status: int, connections: int) -> None:
    server = Server(response)
    assert with_pool(server, twice) == [(status, b"body")] * 2
    assert server.connections == connections
    assert server.requests[0].startswith(b"POST /path HTTP/1.1\r\nHost: 127.0.0.1:")
    assert server.requests[0].endswith(b"\r\nName: value\r\nContent-Length: 4\r\n\r\ntext")


def test_requests_at_a_time_have_a_connection_each() -> None:
    server = Server(LENGTH)
    assert with_pool(server, at_once) == [(200, b"body")] * 3
    assert server.connections == 3


def test_connection_after_one_that_was_closed_is_a_new_one() -> None:
    """As when the predictor has started anew, and none of the idle connections leads to it."""

    async def calls(pool: ConnectionPool) -> Answers:
        await at_once(pool)
        server.response, server.then_close = b"", True
        with pytest.raises(ConnectionResetError):
            await pool.send("GET", "/path", {})
        server.response, server.then_close, before = LENGTH, False, server.connections
        answers = [await pool.send("GET", "/path", {})]
        assert server.connections == before + 1
        return answers

    server = Server(LENGTH)
    assert with_pool(server, calls) == [(200, b"body")]


@pytest.mark.parametrize("response", [b"", b"no HTTP\r\n\r\n", LENGTH[:-1]])
def test_incomplete_or_invalid_response_is_a_closed_connection(response: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        with_pool(Server(response, then_close=True), twice)


def test_call_that_is_cancelled_closes_its_connection() -> None:
    async def cancelled(pool: ConnectionPool) -> Answers:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.send("GET", "/path", {})
        return []

    server = Server(b"")
    with_pool(server, cancelled)
    assert server.connections == 1
