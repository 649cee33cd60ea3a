"""Sizes, the number in flight, headers, logs and metrics, before a predictor that does as it is told."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from brain_tumor.phantoms import phantom_pngs
from serving.grpc_limits import MAX_NON_IMAGE_BYTES, non_image_bytes
from tests.serving import clients, fuzz_grpc
from tests.serving.clients import V1
from tests.serving.conftest import Transformer, transformer
from tests.serving.fake_predictor import FakePredictor, scripted
from tests.serving.fuzz_binary import BLOB
from tests.serving.fuzz_client import GOOD

PNG = phantom_pngs(1)[0]
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def script() -> Iterator[FakePredictor]:
    with scripted() as script:
        yield script


@pytest.fixture(scope="module")
def served(script: FakePredictor, tiny_model: Path) -> Iterator[Transformer]:
    with transformer(tiny_model, script.host, MAX_IN_FLIGHT=2, PREDICTOR_TIMEOUT_SECONDS=2) as served:
        yield served


@pytest.fixture(autouse=True)
def reset_fake_predictor(script: FakePredictor) -> Iterator[None]:
    yield
    script.__init__(script.host)  # type: ignore[misc]


def predict(served: Transformer, **options: object) -> httpx.Response:
    return httpx.post(f"{served.url}/predict?explain=true", files=clients.form(PNG), timeout=20, **options)  # type: ignore[arg-type]


def lines(served: Transformer) -> list[dict[str, object]]:
    return [json.loads(line) for line in served.process.output.read_text().splitlines()]


def test_three_headers_go_to_the_predictor_and_none_comes_back(served: Transformer, script: FakePredictor) -> None:
    forwarded = {
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "x-request-id": "r-1",
        "authorization": "Bearer s3cret",
    }
    others = {"cookie": "session=s3cret", "x-patient": "Doe", "ce-id": "7", "baggage": "name=Doe"}
    assert predict(served, headers=forwarded | others).status_code == 200
    for verb in ("predict", "explain"):
        answer = httpx.post(f"{served.url}{V1}:{verb}", json=clients.instances([PNG]), headers=forwarded | others)
        came = {name: value for name, value in answer.headers.items() if name not in ("date", "server", "x-request-id")}
        assert came == {"content-length": str(len(answer.content)), "content-type": "application/json"}
        assert answer.headers["x-request-id"] != "r-1"
    metadata = [(name, value) for name, value in (forwarded | others).items()]
    clients.infer(served.grpc, clients.infer_request([PNG]), metadata=metadata)

    assert len(script.asked) == 4
    for headers in script.asked:
        assert {name: headers.get(name) for name in forwarded} == forwarded
        assert not set(headers) & set(others)


def test_a_request_is_one_line_with_an_id_and_nothing_of_the_client(served: Transformer) -> None:
    before = len(lines(served))
    headers = {"x-request-id": "Doe-1970", "authorization": "Bearer s3cret"}
    files = {"file": ("Doe_Jane.png", PNG)}
    answer = httpx.post(f"{served.url}/predict?explain=true", files=files, headers=headers)
    httpx.post(f"{served.url}/predict/Doe", files={"file": ("Doe_Jane.png", b"Doe")}, headers=headers)
    httpx.get(f"{served.url}/healthz")

    first, second = lines(served)[before:]
    assert first["request_id"] == answer.headers["x-request-id"]
    assert (first["route"], first["status"], first["message"]) == ("/predict", "200", "request")
    assert (second["route"], second["status"], second["code"]) == ("other", "404", "not_found")
    written = served.process.output.read_text()
    assert "Doe" not in written
    assert "s3cret" not in written


def test_the_surplus_gets_429_at_once(served: Transformer, script: FakePredictor) -> None:
    script.seconds = 1
    with ThreadPoolExecutor(3) as pool:
        kept = [pool.submit(predict, served) for _ in range(2)]
        time.sleep(0.4)
        begun = time.monotonic()
        refused = [predict(served) for _ in range(3)]
        assert time.monotonic() - begun < 0.5
        with pytest.raises(grpc.RpcError) as over_grpc:
            clients.infer(served.grpc, clients.infer_request([PNG]))
        assert httpx.get(f"{served.url}/healthz").status_code == 200
        assert [response.result().status_code for response in kept] == [200, 200]
    assert [(response.status_code, response.json()["code"]) for response in refused] == [(429, "too_busy")] * 3
    assert [response.headers["retry-after"] for response in refused] == ["1"] * 3
    assert over_grpc.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert predict(served).status_code == 200


@pytest.mark.parametrize(
    ("trouble", "status", "code", "grpc_status"),
    [
        ({"status": 500}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"status": 400, "body": b'{"error": "no"}'}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"status": 503}, 503, "not_ready", grpc.StatusCode.UNAVAILABLE),
        ({"body": b"not json"}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"rows": []}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"rows": [{"probability": [0.5]}]}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"rows": [{"probability": [0.2, 0.8], "label": "tumor"}]}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"rows": [{"probability": [0.5], "label": "glioma"}]}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"rows": [{"probability": ["x"], "label": "tumor"}]}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        (
            {"rows": [{"probability": [0.5], "label": "tumor", "heatmap": "x"}]},
            502,
            "predictor_failed",
            grpc.StatusCode.UNAVAILABLE,
        ),
        ({"hang_up": True}, 502, "predictor_failed", grpc.StatusCode.UNAVAILABLE),
        ({"seconds": 3}, 504, "too_slow", grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_a_predictor_in_trouble_has_its_code(
    trouble: dict[str, object], status: int, code: str, grpc_status: grpc.StatusCode, served: Transformer, script: FakePredictor
) -> None:
    for name, value in trouble.items():
        setattr(script, name, value)
    begun = time.monotonic()
    response = predict(served)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert time.monotonic() - begun < 3
    with pytest.raises(grpc.RpcError) as refused:
        clients.infer(served.grpc, clients.infer_request([PNG], explain=True))
    assert refused.value.code() == grpc_status


def test_only_readiness_asks_the_predictor(served: Transformer, script: FakePredictor) -> None:
    script.state = "LOADING"
    for path in ("/healthz", "/v2/health/live", "/metrics", "/model", "/"):
        assert httpx.get(served.url + path).status_code == 200
    assert script.probed == 0
    for path in ("/readyz", "/v2/health/ready", "/v2/models/brain-tumor/ready", V1):
        assert httpx.get(served.url + path).json()["code"] == "not_ready"
    assert script.probed == 4


def test_a_body_over_the_limit_is_refused_however_it_comes(served: Transformer) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"x" * MIB for _ in range(50))

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for path in ("/predict", f"{V1}:predict", "/v2/models/brain-tumor/infer"):
        declared = httpx.post(served.url + path, content=b"x" * 50 * MIB, headers=headers, timeout=30)
        chunked = httpx.post(served.url + path, content=pieces(), headers=headers, timeout=30)
        assert [(answer.status_code, answer.json()["code"]) for answer in (declared, chunked)] == [(413, "too_large")] * 2
    with pytest.raises(grpc.RpcError) as refused:
        clients.infer(served.grpc, clients.infer_request([b"x" * 33 * MIB]))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_slow_clients_keep_nobody_out(served: Transformer) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data\r\nContent-Length: 1000\r\n\r\nx"
    slow = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        for connection in slow:
            connection.sendall(head.encode())
        time.sleep(0.2)
        assert predict(served).status_code == 200
    finally:
        for connection in slow:
            connection.close()


def raw(served: Transformer, *pieces: bytes) -> tuple[int, dict[str, str]]:
    """Write bytes to the socket as they are; return the status and the error."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as answer:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        status = int(answer.readline().split()[1])
        return status, json.loads(answer.read().partition(b"\r\n\r\n")[2])


def test_what_is_not_http_and_a_head_without_end_are_refused(served: Transformer) -> None:
    status, error = raw(served, b"\x16\x03\x01 not HTTP\r\n\r\n")
    assert (status, error["code"]) == (400, "bad_request")
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Long: "
    status, error = raw(served, head, *([b"x" * MIB] * 20), b"\r\n\r\n")
    assert (status, error) == (400, {"error": "the head has more than 65,536 bytes, the limit", "code": "bad_request"})
    assert predict(served).status_code == 200


def test_refused_bodies_do_not_stay_in_memory(served: Transformer) -> None:
    def resident_mib() -> float:
        status = Path(f"/proc/{served.process.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    before = resident_mib()
    for _ in range(12):
        assert httpx.post(f"{served.url}{V1}:predict", content=b"x" * 31 * MIB, timeout=30).status_code == 400
    assert resident_mib() - before < 120


def test_metrics_count_what_happened(served: Transformer) -> None:
    def value(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(httpx.get(f"{served.url}/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    names = {
        ("brain_tumor_requests_total", "route", "/predict"): 2,
        ("brain_tumor_requests_total", "code", "400"): 1,
        ("brain_tumor_request_seconds_count", "route", "/predict"): 2,
        ("brain_tumor_stage_seconds_count", "stage", "decode"): 2,
        ("brain_tumor_stage_seconds_count", "stage", "predictor"): 1,
        ("brain_tumor_stage_seconds_count", "stage", "render"): 1,
        ("brain_tumor_predictions_total", "label", "tumor"): 1,
        ("brain_tumor_rejected_total", "reason", "not_an_image"): 1,
        ("brain_tumor_warnings_total", "reason", "synthetic_model"): 1,
        ("brain_tumor_confidence_bucket", "le", "0.8"): 1,
        ("brain_tumor_input_brightness_count", "", ""): 1,
        ("brain_tumor_input_side_pixels_count", "", ""): 1,
    }
    before = {key: value(key[0], **({key[1]: key[2]} if key[1] else {})) for key in names}
    assert predict(served).status_code == 200
    assert httpx.post(f"{served.url}/predict", files=clients.form(b"no image")).status_code == 400
    after = {key: value(key[0], **({key[1]: key[2]} if key[1] else {})) for key in names}
    assert {key: after[key] - before[key] for key in names} == names
    assert value("brain_tumor_model_info", version="1") == 1
    assert value("brain_tumor_in_flight_requests") == 0


@pytest.mark.parametrize(("message", "image"), [(fuzz_grpc.infer(), GOOD), (fuzz_grpc.raw(BLOB), BLOB)])
def test_bytes_beside_the_image_of_a_message(message: Any, image: bytes) -> None:
    encoded = message.SerializeToString()
    assert non_image_bytes(memoryview(encoded)) == len(encoded) - len(image)
    message.inputs[0].shape.extend([1 << 60] * MAX_NON_IMAGE_BYTES)
    assert non_image_bytes(memoryview(message.SerializeToString())) > MAX_NON_IMAGE_BYTES
    with pytest.raises(IndexError):
        non_image_bytes(memoryview(encoded[:1]))


def test_the_last_probe_or_call_says_whether_the_predictor_is_available(served: Transformer, script: FakePredictor) -> None:
    def available() -> float:
        families = text_string_to_metric_families(httpx.get(f"{served.url}/metrics").text)
        return next(family.samples[0].value for family in families if family.name == "brain_tumor_predictor_available")

    assert predict(served).status_code == 200
    assert available() == 1
    script.state = "LOADING"
    assert httpx.get(f"{served.url}/readyz").status_code == 503
    assert available() == 0
    assert predict(served).status_code == 200
    assert available() == 1
    script.hang_up = True
    assert predict(served).status_code == 502
    assert available() == 0
    script.state, script.hang_up = "AVAILABLE", False
    assert httpx.get(f"{served.url}/readyz").status_code == 200
    assert available() == 1
