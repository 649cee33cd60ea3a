"""The page's client before a server that answers, fails or is silent as it is told."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.phantoms import make_phantom, phantom_pngs
from serving.errors import CODES
from serving.settings import Settings as ServiceSettings
from tests.serving.processes import free_ports
from ui import client
from ui.batch import MAX_FILE_BYTES, Slice, drop_retryable_errors, explain_all, explain_slice
from ui.client import Prediction, ServiceClient
from ui.errors import IMAGE_ERRORS, PROBLEMS, RequestError
from ui.metrics import UPLOADS

PNG = phantom_pngs(1)[0]
DOCUMENT: dict[str, Any] = {
    "label": "tumor",
    "probability": 0.1 + 0.2,
    "threshold": 0.5,
    "confidence": 0.30000000000000004,
    "model": {"name": "brain-tumor", "version": "7"},
    "warnings": ["a"],
    "heatmap": {"shape": [1, 2], "values": [0.0, 1.0], "label": "tumor"},
    "overlay_png": "",
}


@dataclass
class FakePredictor:
    """What to answer, and what came."""

    url: str
    status: int = 200
    body: bytes = json.dumps(DOCUMENT).encode()
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def served() -> Iterator[FakePredictor]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        told = FakePredictor(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield told
        server.shutdown()
        thread.join()


@pytest.fixture
def script() -> Iterator[FakePredictor]:
    with served() as script:
        yield script


def problem(service: ServiceClient) -> str:
    with pytest.raises(RequestError) as raised:
        service.explain(PNG)
    return raised.value.code


def test_an_answer_keeps_the_numbers_as_they_came(script: FakePredictor) -> None:
    answer = ServiceClient(script.url).explain(PNG)
    assert (answer.label, answer.probability, answer.threshold, answer.confidence) == ("tumor", 0.1 + 0.2, 0.5, 0.1 + 0.2)
    assert (answer.version, answer.warnings, answer.heatmap.tolist()) == ("7", ("a",), [[0.0, 1.0]])


def test_the_image_is_sent_with_the_token_and_without_its_name(script: FakePredictor) -> None:
    explain_all(ServiceClient(script.url, "s3cret"), [Slice("1", "Mueller.png", PNG)], {}, on_progress=lambda *_: None)
    ((path, headers, body),) = script.asked
    assert path == "/predict?explain=true"
    assert headers["authorization"] == "Bearer s3cret"
    assert PNG in body
    assert b"Mueller" not in body
    ServiceClient(script.url).explain(PNG)
    assert "authorization" not in script.asked[-1][1]


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_service_has_a_sentence_that_says_what_to_do(code: str, script: FakePredictor) -> None:
    script.status, script.body = int(CODES[code][0]), json.dumps({"error": "e", "code": code}).encode()
    assert problem(ServiceClient(script.url)) == code
    happened, advice = PROBLEMS[code].split(". ", 1) if ". " in PROBLEMS[code] else PROBLEMS[code].rsplit(": ", 1)
    assert len(happened) > 10
    assert len(advice) > 10


OF_A_PROXY = {
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


@pytest.mark.parametrize(("status", "code"), OF_A_PROXY.items())
def test_a_proxys_answer_is_told_by_its_status(status: int, code: str, script: FakePredictor) -> None:
    script.status, script.body = status, b"<html>no JSON</html>"
    assert problem(ServiceClient(script.url)) == code


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", json.dumps(DOCUMENT | {"heatmap": {"shape": [9], "values": []}}).encode()]
)
def test_an_answer_of_another_shape_is_a_problem(body: bytes, script: FakePredictor) -> None:
    script.body = body
    assert problem(ServiceClient(script.url)) == "wrong_shape"
    with pytest.raises(RequestError, match="do not understand each other"):
        ServiceClient(script.url).model_card()


def test_a_service_that_is_away_or_silent_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem(ServiceClient(f"http://127.0.0.1:{free_ports(1)[0]}")) == "unreachable"
    monkeypatch.setattr(client, "RESPONSE_TIMEOUT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert problem(ServiceClient(f"http://127.0.0.1:{silent.getsockname()[1]}")) == "no_answer"


def test_what_the_service_would_refuse_is_not_sent(script: FakePredictor) -> None:
    assert ServiceSettings().max_file_bytes == MAX_FILE_BYTES
    big = phantom_pngs(1)[0] + bytes(MAX_FILE_BYTES)
    wanted = {b"no image": "not_an_image", PNG[:500]: "corrupt", bytes(128) + b"DICM": "unsupported_type", big: "too_large"}
    before = UPLOADS.labels("refused")._value.get()
    for data, code in wanted.items():
        result = explain_slice(ServiceClient(script.url), data)
        assert isinstance(result, RequestError)
        assert (result.code, result.is_retryable) == (code, False)
    assert set(wanted.values()) == IMAGE_ERRORS
    assert script.asked == []
    assert UPLOADS.labels("refused")._value.get() - before == len(wanted)


def test_a_batch_asks_only_for_what_is_new_and_again_for_what_failed(script: FakePredictor) -> None:
    service, results = ServiceClient(script.url), {}  # type: ignore[var-annotated]
    told: list[tuple[int, int]] = []
    slices = [Slice("1", "a", PNG), Slice("2", "b", b"no image")]
    script.status = 503
    assert explain_all(service, slices, results, on_progress=lambda *progress: told.append(progress)) == slices
    assert told == [(0, 2), (1, 2)]
    script.status = 200
    assert explain_all(service, slices, results, on_progress=lambda *_: None) == []
    drop_retryable_errors(results)
    assert explain_all(service, slices, results, on_progress=lambda *_: None) == slices[:1]
    assert isinstance(results["1"], Prediction)
    assert explain_all(service, slices[1:], results, on_progress=lambda *_: None) == []
    assert results.keys() == {"2"}


def test_the_phantoms_are_drawn_and_no_patients() -> None:
    import numpy as np
    from PIL import Image

    drawn = {"ring": 162, "bright": 258, "none": 299, "none-t2": 231}
    folder = Path(client.__file__).parent / "phantoms"
    assert {path.stem for path in folder.iterdir()} == drawn.keys()
    for name, index in drawn.items():
        image, _ = make_phantom(np.random.default_rng([7, index]), lesion=index % 2 == 0)
        with Image.open(folder / f"{name}.png") as stored:
            assert np.array_equal(np.asarray(stored), image)
