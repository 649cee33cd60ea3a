"""The HTTP client in front of a fake service, and the errors it raises."""

import json
import socket

import pytest

from brain_tumor.phantoms import phantom_pngs
from serving.errors import CODES
from tests.serving.processes import free_ports
from tests.ui.fake_service import PREDICTION, FakeService
from ui import client
from ui.client import ServiceClient
from ui.errors import MESSAGES, RequestError

PNG = phantom_pngs(1)[0]


def error_code(service: ServiceClient) -> str:
    with pytest.raises(RequestError) as raised:
        service.explain(PNG)
    return raised.value.code


def test_prediction_has_the_unrounded_numbers_of_the_response(fake_service: FakeService) -> None:
    prediction = ServiceClient(fake_service.url).explain(PNG)
    numbers = (prediction.label, prediction.probability, prediction.threshold, prediction.confidence)
    assert numbers == ("tumor", 0.1 + 0.2, 0.5, 0.1 + 0.2)
    assert (prediction.version, prediction.warnings, prediction.heatmap.tolist()) == ("7", ("a",), [[0.0, 1.0]])


def test_request_to_this_machine_takes_no_proxy(fake_service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert ServiceClient(fake_service.url).explain(PNG).label == "tumor"
    assert error_code(ServiceClient("http://service.example:8080")) == "unreachable"


def test_service_of_0_1_0_gives_neither_codes_nor_likeness(fake_service: FakeService) -> None:
    prediction = ServiceClient(fake_service.url).explain(PNG)
    found = (prediction.warning_codes, prediction.in_distribution, prediction.uncertain, prediction.explanation)
    assert found == ((), None, None, "grad_cam")


def test_prediction_has_likeness_uncertainty_and_codes(fake_service: FakeService) -> None:
    new = {"in_distribution": 0.1 + 0.2, "uncertain": True, "warning_codes": ["uncertain"], "explanation": "evidence"}
    fake_service.body = json.dumps(PREDICTION | new).encode()
    prediction = ServiceClient(fake_service.url).explain(PNG)
    found = (prediction.warning_codes, prediction.in_distribution, prediction.uncertain, prediction.explanation)
    assert found == (("uncertain",), 0.1 + 0.2, True, "evidence")


@pytest.mark.parametrize("code", CODES)
def test_every_error_code_of_the_service_has_a_message_with_advice(code: str, fake_service: FakeService) -> None:
    fake_service.status, fake_service.body = int(CODES[code][0]), json.dumps({"error": "e", "code": code}).encode()
    assert error_code(ServiceClient(fake_service.url)) == code
    cause, advice = MESSAGES[code].split(". ", 1) if ". " in MESSAGES[code] else MESSAGES[code].rsplit(": ", 1)
    assert len(cause) > 10
    assert len(advice) > 10


PROXY_STATUSES = {
    302: "internal",
    401: "unauthorised",
    403: "unauthorised",
    413: "too_large",
    418: "bad_request",
    429: "too_busy",
    500: "internal",
    502: "predictor_failed",
    503: "not_ready",
    504: "too_slow",
}


@pytest.mark.parametrize(("status", "code"), PROXY_STATUSES.items())
def test_status_of_a_proxy_gives_the_error(status: int, code: str, fake_service: FakeService) -> None:
    fake_service.status, fake_service.body = status, b"<html>no JSON</html>"
    assert error_code(ServiceClient(fake_service.url)) == code


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", json.dumps(PREDICTION | {"heatmap": {"shape": [9], "values": []}}).encode()]
)
def test_malformed_response_is_an_error(body: bytes, fake_service: FakeService) -> None:
    fake_service.body = body
    assert error_code(ServiceClient(fake_service.url)) == "wrong_shape"
    with pytest.raises(RequestError, match="do not understand each other"):
        ServiceClient(fake_service.url).model_card()


def test_unreachable_or_unresponsive_service_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_code(ServiceClient(f"http://127.0.0.1:{free_ports(1)[0]}")) == "unreachable"
    monkeypatch.setattr(client, "RESPONSE_TIMEOUT_SECONDS", 0.2)
    with socket.socket() as unresponsive:
        unresponsive.bind(("127.0.0.1", 0))
        unresponsive.listen()
        assert error_code(ServiceClient(f"http://127.0.0.1:{unresponsive.getsockname()[1]}")) == "timeout"
