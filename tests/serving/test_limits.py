"""Limits on requests in flight, body and header sizes, and on slow clients."""

import contextlib
import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest

from tests.serving import clients
from tests.serving.clients import PNG, V1, explain
from tests.serving.conftest import Transformer
from tests.serving.fake_predictor import FakePredictor

MIB = 1024 * 1024


def test_excess_requests_get_429_at_once(served: Transformer, fake_predictor: FakePredictor) -> None:
    fake_predictor.delay_seconds = 1
    with ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(explain, served.url) for _ in range(2)]
        time.sleep(0.4)
        started = time.monotonic()
        rejected = [explain(served.url) for _ in range(3)]
        assert time.monotonic() - started < 0.5
        with pytest.raises(grpc.RpcError) as rejected_by_grpc:
            clients.infer(served.grpc, clients.infer_request([PNG]))
        assert httpx.get(f"{served.url}/healthz").status_code == 200
        assert [response.result().status_code for response in accepted] == [200, 200]
    assert [(response.status_code, response.json()["code"]) for response in rejected] == [(429, "too_busy")] * 3
    assert [response.headers["retry-after"] for response in rejected] == ["1"] * 3
    assert rejected_by_grpc.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert explain(served.url).status_code == 200


def test_body_over_the_limit_gets_413_with_and_without_content_length(served: Transformer) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"x" * MIB for _ in range(50))

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for path in ("/predict", f"{V1}:predict", "/v2/models/brain-tumor/infer"):
        declared = httpx.post(served.url + path, content=b"x" * 50 * MIB, headers=headers, timeout=30)
        chunked = httpx.post(served.url + path, content=chunks(), headers=headers, timeout=30)
        assert [(response.status_code, response.json()["code"]) for response in (declared, chunked)] == [(413, "too_large")] * 2
    with pytest.raises(grpc.RpcError) as rejected:
        clients.infer(served.grpc, clients.infer_request([b"x" * 33 * MIB]))
    assert rejected.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_slow_clients_do_not_block_other_requests(served: Transformer) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data\r\nContent-Length: 1000\r\n\r\nx"
    slow = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        for connection in slow:
            connection.sendall(head.encode())
        time.sleep(0.2)
        assert explain(served.url).status_code == 200
    finally:
        for connection in slow:
            connection.close()


def send_raw(served: Transformer, *chunks: bytes) -> tuple[int, dict[str, str]]:
    """Send bytes without any framing; return the status and the error body."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as response:
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                connection.sendall(chunk)
        status = int(response.readline().split()[1])
        return status, json.loads(response.read().partition(b"\r\n\r\n")[2])


def test_invalid_http_and_long_headers_get_400(served: Transformer) -> None:
    status, error = send_raw(served, b"\x16\x03\x01 not HTTP\r\n\r\n")
    assert (status, error["code"]) == (400, "bad_request")
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Long: "
    status, error = send_raw(served, head, *([b"x" * MIB] * 20), b"\r\n\r\n")
    assert (status, error) == (400, {"error": "headers: expected at most 65,536 bytes", "code": "bad_request"})
    assert explain(served.url).status_code == 200


def resident_mib(served: Transformer, measure: str = "VmRSS") -> float:
    status = Path(f"/proc/{served.process.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(measure)).split()[1]) / 1024


def test_rejected_bodies_are_freed(served: Transformer) -> None:
    before = resident_mib(served)
    for _ in range(12):
        assert httpx.post(f"{served.url}{V1}:predict", content=b"x" * 31 * MIB, timeout=30).status_code == 400
    assert resident_mib(served) - before < 120


def test_compressed_body_is_limited_by_its_decompressed_size(served: Transformer) -> None:
    pid = served.process.process.pid
    small, large = gzip.compress(b" " * 31 * MIB), gzip.compress(bytes(300 * MIB), 1)
    before = resident_mib(served)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # of the peak
    for content, status, code in (
        (small, 400, "bad_request"),
        (large, 413, "too_large"),
        (gzip.compress(large), 413, "too_large"),
    ):
        coding = "gzip, gzip" if content not in (small, large) else "gzip"
        response = httpx.post(f"{served.url}{V1}:predict", content=content, headers={"Content-Encoding": coding}, timeout=30)
        assert (response.status_code, response.json()["code"]) == (status, code)
    assert resident_mib(served, "VmHWM") - before < 120
    form = httpx.Request("POST", served.url, files=clients.form(PNG + bytes(11 * MIB)))
    headers = {"Content-Type": form.headers["content-type"], "Content-Encoding": "gzip"}
    response = httpx.post(f"{served.url}/predict", content=gzip.compress(form.read()), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
