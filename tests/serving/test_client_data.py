"""Client data: the headers that are forwarded, and nothing of it in the log."""

import json

import httpx

from tests.serving import clients
from tests.serving.clients import PNG, V1, explain
from tests.serving.conftest import Transformer
from tests.serving.fake_predictor import FakePredictor


def test_three_headers_are_forwarded_and_none_is_returned(served: Transformer, fake_predictor: FakePredictor) -> None:
    forwarded = {
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "x-request-id": "r-1",
        "authorization": "Bearer s3cret",
    }
    others = {"cookie": "session=s3cret", "x-patient": "Doe", "ce-id": "7", "baggage": "name=Doe"}
    assert explain(served.url, headers=forwarded | others).status_code == 200
    for verb in ("predict", "explain"):
        response = httpx.post(f"{served.url}{V1}:{verb}", json=clients.instances([PNG]), headers=forwarded | others)
        received = {
            name: value for name, value in response.headers.items() if name not in ("date", "server", "vary", "x-request-id")
        }
        assert received == {"content-length": str(len(response.content)), "content-type": "application/json"}
        assert response.headers["x-request-id"] != "r-1"
    metadata = [(name, value) for name, value in (forwarded | others).items()]
    clients.infer(served.grpc, clients.infer_request([PNG]), metadata=metadata)

    assert len(fake_predictor.received_headers) == 4
    for headers in fake_predictor.received_headers:
        assert {name: headers.get(name) for name in forwarded} == forwarded
        assert not set(headers) & set(others)


def log_lines(served: Transformer) -> list[dict[str, object]]:
    return [json.loads(line) for line in served.process.output.read_text().splitlines()]


def test_request_logs_one_line_with_an_id_and_no_client_data(served: Transformer) -> None:
    before = len(log_lines(served))
    headers = {"x-request-id": "Doe-1970", "authorization": "Bearer s3cret"}
    files = {"file": ("Doe_Jane.png", PNG)}
    response = httpx.post(f"{served.url}/predict?explain=true", files=files, headers=headers)
    httpx.post(f"{served.url}/predict/Doe", files={"file": ("Doe_Jane.png", b"Doe")}, headers=headers)
    httpx.get(f"{served.url}/healthz")

    first, second = log_lines(served)[before:]
    assert first["request_id"] == response.headers["x-request-id"]
    assert (first["route"], first["status"], first["message"]) == ("/predict", "200", "request")
    assert (second["route"], second["status"], second["code"]) == ("other", "404", "not_found")
    output = served.process.output.read_text()
    assert "Doe" not in output
    assert "s3cret" not in output
