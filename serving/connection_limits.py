"""Limits on connections: how many are open at a time, and how long one of REST may wait for its client."""

import asyncio
import resource
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from brain_tumor.errors import InputError
from serving.header_limit import HeaderLimitProtocol
from serving.settings import CLIENT_TIMEOUT_SECONDS

TOO_MANY_CONNECTIONS = "too many open connections; retry in a moment"
MAX_CONNECTIONS = 1000
MIN_CONNECTIONS = 8
OWN_DESCRIPTORS = 48  # of listening sockets, event loops, logs and libraries


def max_connections(max_in_flight: int = 0) -> int:
    """Return how many connections of REST may be open, and how many of gRPC, by the limit on this process's descriptors.

    Args:
        max_in_flight: Maximum number of requests in flight, each with a connection to the predictor and a temporary file.

    Raises:
        InputError: The limit is too low for a service.
    """
    limit, own = resource.getrlimit(resource.RLIMIT_NOFILE)[0], OWN_DESCRIPTORS + 2 * max_in_flight
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    # A third each for REST, for gRPC, and for calls to the predictor by probes and connections not accepted yet.
    if (limit - own) // 3 < MIN_CONNECTIONS:
        raise InputError(f"limit on open files: got {limit}, expected at least {own + 3 * MIN_CONNECTIONS}; raise `ulimit -n`")
    return min(MAX_CONNECTIONS, (limit - own) // 3)


class ConnectionLimits:
    """The connections of one uvicorn server, and their limits.

    The last quarter of `maximum` is for probes: such a surplus connection gets one response, and it is 503 unless the request is
    a probe. Above `maximum`, the surplus connection that has waited longest for a request makes room.

    Args:
        maximum: Maximum number of open connections.
        on_error: Function that gets the code of each error that is sent before there is a request.
    """

    def __init__(self, maximum: int, on_error: Callable[[str], None]):
        self._maximum, self._ordinary = maximum, maximum - maximum // 4
        self._on_error = on_error
        self._open: set[ConnectionLimitsProtocol] = set()
        self._surplus: dict[ConnectionLimitsProtocol, None] = {}  # the oldest first

    def apply(self, config: uvicorn.Config) -> None:
        """Let a server that is not yet started keep these limits."""
        config.http = partial(ConnectionLimitsProtocol, self)  # type: ignore[assignment]
        config.backlog = self._maximum
        config.callback_notify, config.timeout_notify = self._close_stalled, 0  # once a second

    def add(self, connection: "ConnectionLimitsProtocol") -> None:
        """Admit a new connection."""
        self._open.add(connection)
        if len(self._open) <= self._ordinary:
            return
        connection.is_surplus = True
        self._surplus[connection] = None
        if len(self._open) > self._maximum:
            oldest = next(each for each in self._surplus if each.awaits_request)  # the new one, if no other
            del self._surplus[oldest]
            if oldest.cycle is None:
                self._reject(oldest, 503, "too_many_connections", TOO_MANY_CONNECTIONS)
            else:  # it has its response already
                oldest.transport.close()

    def discard(self, connection: "ConnectionLimitsProtocol") -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        self._surplus.pop(connection, None)

    def reject_slow_headers(self, connection: "ConnectionLimitsProtocol") -> None:
        """Answer a client that has not sent all headers of its request in time, and close the connection."""
        self._reject(connection, 408, "slow_headers", f"headers: not received within {CLIENT_TIMEOUT_SECONDS} s")

    def _reject(self, connection: "ConnectionLimitsProtocol", status: int, code: str, message: str) -> None:
        self._on_error(code)
        connection.send_error(status, code, message)

    async def _close_stalled(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._open):
            connection.close_if_stalled(now)


class ConnectionLimitsProtocol(HeaderLimitProtocol):
    """uvicorn's HTTP protocol for one connection, within `limits`.

    The middleware limits the time of a body that it needs. The protocol limits all else that a client can delay: the headers, the
    rest of a body whose request is answered already, and the receipt of a response, by parts of which at most 320 KiB are
    in memory. It needs no timer for that: the server looks at each connection once a second.
    """

    def __init__(self, limits: ConnectionLimits, **arguments: Any):
        super().__init__(**arguments)
        self._limits = limits
        self._stall: tuple[str, Any] | None = None
        self._stalled_since = 0.0
        self._pauses = 0
        self.is_surplus = False

    @property
    def awaits_request(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limits.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._limits.discard(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._pauses += 1

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.is_surplus:
            self.scope["state"]["is_surplus"] = True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.is_surplus and not self.offers_upgrade():
            if self.cycle.response_complete:
                self.transport.close()
            else:
                self.cycle.keep_alive = False

    def close_if_stalled(self, now: float) -> None:
        """Close the connection if it has waited for `CLIENT_TIMEOUT_SECONDS` for one and the same thing from its client.

        Args:
            now: Time of the event loop in seconds.
        """
        stall = self._stall_of_client()
        if stall is None or stall != self._stall:
            self._stall, self._stalled_since = stall, now
        elif now - self._stalled_since < CLIENT_TIMEOUT_SECONDS:
            return
        elif stall[0] != "request":
            self.transport.abort()
        elif self._header_bytes:
            self._limits.reject_slow_headers(self)
        else:
            self.transport.close()

    def _stall_of_client(self) -> tuple[str, Any] | None:
        """Return what the client has to do next, equal from call to call until it has; None if the server has to."""
        if self.transport.is_closing():
            return "close", None
        if self.flow.write_paused:
            return "read", self._pauses
        # uvicorn has a timer of its own for a connection on which nothing was received since the last response.
        if self.awaits_request and self.timeout_keep_alive_task is None:
            return "request", self.cycle
        return None
