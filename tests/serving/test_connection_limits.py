"""Clients that connect and do not finish: how long their connections stay open, and what other clients get meanwhile."""

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from serving.connection_limits import MAX_CONNECTIONS, max_connections
from tests.serving import clients
from tests.serving.clients import PNG, V1, explain
from tests.serving.conftest import Transformer
from tests.serving.fake_predictor import FakePredictor
from tests.serving.processes import ROOT, free_ports, running

CLIENT_SECONDS, IDLE_SECONDS = 2, 6
LATE_SECONDS = 15  # on a busy machine
HALF_HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_BODY = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data\r\nContent-Length: 1000\r\n\r\nx"
HALF_UNUSED_BODY = WHOLE[:-2] + b"Content-Length: 1000\r\n\r\nx"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"  # preface and empty SETTINGS
INFER = "/inference.GRPCInferenceService/ModelInfer"


@contextmanager
def limited(model_dir: Path, predictor: FakePredictor, **environment: object) -> Iterator[Transformer]:
    """Start a transformer with other timeouts or another limit on open files."""
    http, rpc = free_ports(2)
    ports = {"MODEL_DIR": model_dir, "HTTP_PORT": http, "GRPC_PORT": rpc, "PREDICTOR_HOST": predictor.host}
    url = f"http://127.0.0.1:{http}"
    with running("tests.serving.short_timeouts", ports | environment, f"{url}/healthz") as process:
        yield Transformer(process, url, f"127.0.0.1:{rpc}")


@pytest.fixture(scope="module")
def hasty(tiny_model: Path, shared_fake_predictor: FakePredictor) -> Iterator[Transformer]:
    """A transformer with short timeouts."""
    seconds = {"CLIENT_TIMEOUT_SECONDS": CLIENT_SECONDS, "IDLE_SECONDS": IDLE_SECONDS}
    with limited(tiny_model, shared_fake_predictor, **seconds) as served:
        yield served


@pytest.fixture(scope="module")
def small(tiny_model: Path, shared_fake_predictor: FakePredictor) -> Iterator[Transformer]:
    """A transformer that may open 512 files."""
    with limited(tiny_model, shared_fake_predictor, OPEN_FILES=512) as served:
        yield served


@pytest.fixture
def many() -> Iterator[Callable[[str, bytes, int], list[socket.socket]]]:
    """Return a function that opens connections and sends the same bytes on each; they are closed at the end."""
    with ExitStack() as stack:

        def connect(address: str, data: bytes, count: int) -> list[socket.socket]:
            host, port = address.removeprefix("http://").split(":")
            opened = []
            for _ in range(count):
                opened.append(stack.enter_context(socket.create_connection((host, int(port)), timeout=40)))
                opened[-1].sendall(data)
            return opened

        yield connect


def seconds_until_closed(connection: socket.socket) -> tuple[float, bytes]:
    """Wait until the server closes a connection; return the time it took and what it sent."""
    started, received = time.monotonic(), b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return time.monotonic() - started, received


def error_of(response: bytes) -> tuple[int, str]:
    """Return status and code of the last response in what a server sent."""
    head, _, body = response.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
    return int(head[:3]), json.loads(body)["code"]


def descriptors(served: Transformer) -> int:
    return len(os.listdir(f"/proc/{served.process.process.pid}/fd"))


def wait_for_descriptors(served: Transformer, most: int) -> None:
    deadline = time.monotonic() + 2 * LATE_SECONDS
    while descriptors(served) > most:
        assert time.monotonic() < deadline, f"{descriptors(served)} descriptors, expected at most {most}"
        time.sleep(0.1)


Connect = Callable[[str, bytes, int], list[socket.socket]]


def test_1200_unfinished_heads_leave_probes_answered_and_others_a_clear_503(small: Transformer, many: Connect) -> None:
    before = descriptors(small)
    sockets = many(small.url, HALF_HEAD, 1200)
    assert descriptors(small) < 512
    for path in ("/healthz", "/readyz", "/metrics", "/v2/health/ready"):
        assert httpx.get(small.url + path).status_code == 200
    rejected = [
        explain(small.url),
        httpx.get(f"{small.url}/model"),
        httpx.post(f"{small.url}{V1}:predict", content=b"x" * 9_000_000),
    ]
    for response in rejected:
        assert (response.status_code, response.json()["code"]) == (503, "too_many_connections")
        assert (response.headers["retry-after"], len(response.headers["x-request-id"])) == ("1", 32)
    assert len(clients.call_grpc(small.grpc, [PNG])) == 1
    status = [error_of(seconds_until_closed(each)[1]) for each in sockets[200:800]]
    assert status == [(503, "too_many_connections")] * 600
    for each in sockets:
        each.close()
    wait_for_descriptors(small, before + 5)
    assert explain(small.url).status_code == 200
    output = small.process.output.read_text()
    assert output.count('"code": "too_many_connections"') == 3
    assert not any(word in output for word in ("Traceback", "Errno", "x" * 20))
    metrics = httpx.get(f"{small.url}/metrics").text
    assert 'brain_tumor_requests_total{code="503",route="other"} 3.0' in metrics


@pytest.mark.parametrize("data", [b"", WHOLE, HALF_BODY, HALF_UNUSED_BODY], ids=["silent", "idle", "body", "rest of a body"])
def test_other_unfinished_connections_leave_probes_answered_too(small: Transformer, many: Connect, data: bytes) -> None:
    before = descriptors(small)
    sockets = many(small.url, data, 600)
    assert descriptors(small) < 512
    assert [httpx.get(small.url + path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    response = explain(small.url)
    assert (response.status_code, response.json()["code"]) == (503, "too_many_connections")
    for each in sockets:
        each.close()
    wait_for_descriptors(small, before + 5)
    assert explain(small.url).status_code == 200


def test_connections_below_the_limit_are_served_while_surplus_ones_get_one_response(small: Transformer, many: Connect) -> None:
    with httpx.Client(base_url=small.url) as early:
        assert early.get("/healthz").status_code == 200
        sockets = many(small.url, HALF_HEAD, 130)
        assert early.post("/predict", files=clients.form(PNG)).status_code == 200
        (surplus,) = many(small.url, WHOLE + WHOLE, 1)
        assert seconds_until_closed(surplus)[1].count(b"HTTP/1.1 200 OK") == 1
        for each in sockets:
            each.close()


@pytest.mark.parametrize("data", [b"", HTTP2], ids=["silent", "idle"])
def test_grpc_connections_leave_rest_served_and_are_limited(small: Transformer, many: Connect, data: bytes) -> None:
    before = descriptors(small)
    sockets = many(small.grpc, data, 600)
    assert descriptors(small) < 512
    assert explain(small.url).status_code == 200
    for each in sockets:
        each.close()
    wait_for_descriptors(small, before + 5)
    assert len(clients.call_grpc(small.grpc, [PNG])) == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", None),
        (b"\r\n", (408, "slow_headers")),
        (HALF_HEAD, (408, "slow_headers")),
        (WHOLE + HALF_HEAD, None),
        (HALF_BODY, (408, "slow_body")),
        (HALF_UNUSED_BODY, None),
    ],
    ids=["silent", "line break", "half head", "half head after a request", "half body", "half body that is not read"],
)
def test_connection_that_waits_for_its_client_is_closed(
    hasty: Transformer, many: Connect, data: bytes, status: tuple[int, str] | None
) -> None:
    (connection,) = many(hasty.url, data, 1)
    seconds, received = seconds_until_closed(connection)
    assert CLIENT_SECONDS - 0.5 < seconds < LATE_SECONDS
    if status:
        assert error_of(received) == status
    else:
        assert received.count(b"HTTP/1.1") == data.count(b"\r\n\r\n")
    assert explain(hasty.url).status_code == 200


def test_head_that_drips_is_not_waited_for_any_longer(hasty: Transformer, many: Connect) -> None:
    (connection,) = many(hasty.url, HALF_HEAD, 1)
    started = time.monotonic()
    received = b""
    connection.settimeout(0.2)
    while not received and time.monotonic() - started < 20:
        connection.sendall(b"x")
        try:
            received = connection.recv(65536)
        except TimeoutError:
            continue
    assert error_of(received) == (408, "slow_headers")
    assert time.monotonic() - started < LATE_SECONDS


def test_second_head_that_drips_on_a_connection_is_not_waited_for_either(hasty: Transformer, many: Connect) -> None:
    (connection,) = many(hasty.url, WHOLE, 1)
    time.sleep(0.5)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    connection.sendall(HALF_HEAD)
    seconds, received = seconds_until_closed(connection)
    assert (error_of(received), seconds < LATE_SECONDS) == ((408, "slow_headers"), True)


def test_slow_head_and_pipelined_requests_are_answered_in_order(hasty: Transformer, many: Connect) -> None:
    (connection,) = many(hasty.url, WHOLE[:20], 1)
    time.sleep(CLIENT_SECONDS / 2)
    last = b"GET /model HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    connection.sendall(WHOLE[20:] + WHOLE + last)
    received = seconds_until_closed(connection)[1].split(b"HTTP/1.1 ")[1:]
    assert [response[:3] for response in received] == [b"200"] * 3
    assert [json.loads(response.partition(b"\r\n\r\n")[2]) for response in received[:2]] == [{"status": "alive"}] * 2
    assert json.loads(received[2].partition(b"\r\n\r\n")[2])["name"] == "brain-tumor"


def test_connection_stays_open_between_requests_and_is_closed_when_idle(hasty: Transformer, many: Connect) -> None:
    (connection,) = many(hasty.url, b"", 1)
    for _ in range(3):
        connection.sendall(WHOLE)
        time.sleep(CLIENT_SECONDS + 1)
        assert connection.recv(65536).endswith(b'{"status":"alive"}')
    seconds, received = seconds_until_closed(connection)
    assert (received, seconds < LATE_SECONDS) == (b"", True)


def test_response_that_is_not_read_does_not_keep_the_connection(hasty: Transformer) -> None:
    host, port = hasty.url.removeprefix("http://").split(":")
    assert explain(hasty.url).status_code == 200
    time.sleep(1)  # until that connection is closed
    before = descriptors(hasty)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
        for _ in range(100):
            if descriptors(hasty) > before:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the connection was not accepted")
        assert explain(hasty.url).status_code == 200
        wait_for_descriptors(hasty, before)


@pytest.mark.parametrize(("data", "limit"), [(b"", CLIENT_SECONDS), (HTTP2, IDLE_SECONDS)], ids=["silent", "idle"])
def test_grpc_connection_without_calls_is_closed(hasty: Transformer, many: Connect, data: bytes, limit: int) -> None:
    (connection,) = many(hasty.grpc, data, 1)
    assert limit - 1 < seconds_until_closed(connection)[0] < LATE_SECONDS + 20  # a graceful end waits up to 20 s for the client


def test_grpc_calls_without_a_message_end_and_free_their_places(hasty: Transformer) -> None:
    stalled = threading.Event()

    def never() -> Iterator[bytes]:
        stalled.wait(60)
        yield from ()

    with grpc.insecure_channel(hasty.grpc) as channel:
        calls = [channel.stream_unary(INFER).future(never()) for _ in range(40)]
        codes = [call.exception().code() for call in calls]
        assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(clients.call_grpc(hasty.grpc, [PNG])) == 1
        stalled.set()
        with pytest.raises(grpc.RpcError) as raised:
            channel.stream_unary(INFER)(iter(()), timeout=20)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert '"status": "DEADLINE_EXCEEDED", "code": "slow_body"' in hasty.process.output.read_text()


@pytest.mark.long
def test_stand_in_predictor_limits_its_connections_too(tiny_model: Path, many: Connect) -> None:
    http, rpc = free_ports(2)
    url = f"http://127.0.0.1:{http}"
    environment: dict[str, Any] = {"MODEL_DIR": tiny_model, "PREDICTOR_HTTP_PORT": http, "PREDICTOR_GRPC_PORT": rpc}
    environment |= {"MODULE": "serving.predictor", "OPEN_FILES": 256, "CLIENT_TIMEOUT_SECONDS": 8}
    with running("tests.serving.short_timeouts", environment, f"{url}{V1}/metadata"):
        sockets = many(url, f"GET {V1} HTTP/1.1\r\nX: ".encode(), 300)
        assert httpx.get(url + V1).status_code == 200
        rejected = httpx.post(f"{url}{V1}:predict", json=clients.instances([PNG]))
        assert (rejected.status_code, rejected.json()) == (503, {"error": "too many open connections; retry in a moment"})
        assert error_of(seconds_until_closed(sockets[0])[1]) == (408, "slow_headers")
        time.sleep(1)
        assert len(clients.call_predictor(url, [PNG])) == 1
        (half,) = many(url, f"POST {V1}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx".encode(), 1)
        half.settimeout(30)
        assert half.recv(1000).startswith(b"HTTP/1.1 408 ")


def limit_open_files(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))


@pytest.mark.parametrize(
    ("limit", "connections"), [(resource.RLIM_INFINITY, MAX_CONNECTIONS), (1 << 20, MAX_CONNECTIONS), (1024, 314)]
)
def test_maximum_follows_from_the_limit_on_open_files(limit: int, connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_open_files(monkeypatch, limit)
    assert max_connections(16) == connections


@pytest.mark.parametrize("module", ["serving", "serving.predictor"])
def test_too_low_limit_on_open_files_ends_the_process_with_one_line(module: str, tiny_model: Path) -> None:
    ports = dict(
        zip(("HTTP_PORT", "GRPC_PORT", "PREDICTOR_HTTP_PORT", "PREDICTOR_GRPC_PORT"), map(str, free_ports(4)), strict=True)
    )
    environment = os.environ | ports | {"MODEL_DIR": str(tiny_model), "MODULE": module, "OPEN_FILES": "60"}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.serving.short_timeouts"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    (line,) = [line for line in (ended.stdout + ended.stderr).splitlines() if "cannot be checked" not in line]
    assert line.startswith("error: limit on open files: got 60, expected at least ")
