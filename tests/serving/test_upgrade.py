"""Requests that offer another protocol, as curl --http2 and Java's clients send them, to the transformer and the stand-in."""

import json
import socket
import time
from typing import Any

import httpx
import pytest

from tests.serving.clients import PNG, V1, instances
from tests.serving.conftest import Pair

# Bytes that would be a request if they followed another one.
SMUGGLED = f"GET {V1} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
LAST = SMUGGLED[:-2] + b"Connection: close\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODY = json.dumps(instances([PNG])).encode()
OFFERS = {
    "curl --http2": ("Upgrade, HTTP2-Settings", "h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"),
    "Java": ("Upgrade", "h2c", ""),
    "WebSocket": (
        "keep-alive, Upgrade",
        "websocket",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ),
    "several": ("upgrade", "TLS/1.0, h2c", ""),
    "100-continue": ("Upgrade", "h2c", "Expect: 100-continue\r\n"),
}


@pytest.fixture(scope="module", params=["transformer", "predictor"])
def url(request: pytest.FixtureRequest, service: Pair) -> str:
    return service.url if request.param == "transformer" else service.predictor_url


def post(offer: str, body: bytes, *, chunked: bool) -> tuple[bytes, bytes]:
    """Return the head and the framed body of a request."""
    connection, upgrade, more = OFFERS[offer]
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = f"POST {V1}:predict HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\nUpgrade: {upgrade}\r\n{more}{framing}\r\n\r\n"
    half = len(body) // 2
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"
    return head.encode(), parts if chunked else body


def responses(url: str, packets: list[bytes]) -> list[tuple[int, dict[str, Any]]]:
    """Send packets one by one over a connection, then `LAST`; return the status and body of each response but the last."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection, connection.makefile("rb") as stream:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in [*packets, LAST]:
            connection.sendall(packet)
            time.sleep(0.01)
        received = stream.read().removeprefix(CONTINUE).split(b"HTTP/1.1 ")[1:-1]
    return [(int(response[:3]), json.loads(response.partition(b"\r\n\r\n")[2])) for response in received]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("offer", OFFERS)
def test_offer_of_another_protocol_is_ignored(offer: str, chunked: bool, url: str) -> None:
    head, body = post(offer, BODY, chunked=chunked)
    for packets in ([head + body], [head, body], [head[:40], head[40:], body[:1], body[1:]]):
        ((status, result),) = responses(url, packets)
        assert (status, len(result["predictions"])) == (200, 1)
    head, body = post(offer, SMUGGLED, chunked=chunked)
    for packets in ([head + body], [head, body]):
        ((status, _),) = responses(url, packets)
        assert status == 400


def test_connection_stays_usable_after_an_offer(url: str) -> None:
    head, body = post("Java", BODY, chunked=False)
    received = responses(url, [head + body + SMUGGLED + head, body])
    assert [status for status, _ in received] == [200, 200, 200]
    assert ["predictions" in result for _, result in received] == [True, False, True]


def test_offer_on_a_connection_that_ends_is_ignored(url: str) -> None:
    response = httpx.post(f"{url}{V1}:predict", content=BODY, headers={"Connection": "close, Upgrade", "Upgrade": "h2c"})
    assert len(response.json()["predictions"]) == 1


def test_bytes_after_connect_are_no_request(url: str) -> None:
    head = f"CONNECT {V1} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection, connection.makefile("rb") as stream:
        connection.sendall(head + SMUGGLED)
        assert stream.read().count(b"HTTP/1.1 4") == 1
