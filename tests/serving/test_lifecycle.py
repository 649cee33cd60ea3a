"""How the processes start, stop and come back."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from brain_tumor.phantoms import phantom_pngs
from tests.serving import clients
from tests.serving.conftest import predictor, transformer
from tests.serving.fake_predictor import scripted
from tests.serving.processes import ROOT, free_ports

PNG = phantom_pngs(1)[0]


def test_sigterm_lets_what_is_in_flight_end(tiny_model: Path) -> None:
    with scripted() as script, transformer(tiny_model, script.host) as served, ThreadPoolExecutor(2) as pool:
        script.seconds = 1.5
        rest = pool.submit(httpx.post, f"{served.url}/predict", files=clients.form(PNG), timeout=20)
        rpc = pool.submit(clients.infer, served.grpc, clients.infer_request([PNG]))
        time.sleep(0.7)
        served.process.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{served.url}/healthz")
        assert rest.result().status_code == 200
        assert rpc.result().model_name == "brain-tumor"
        assert served.process.process.wait(timeout=10) == 0
        assert "Traceback" not in served.process.output.read_text()


def test_a_predictor_that_is_killed_and_comes_back_needs_no_restart(tiny_model: Path) -> None:
    http, grpc = free_ports(2)
    with transformer(tiny_model, f"127.0.0.1:{http}", PREDICTOR_TIMEOUT_SECONDS=2) as served:

        def predict(_: int = 0) -> tuple[int, str, float]:
            begun = time.monotonic()
            answer = httpx.post(f"{served.url}/predict", files=clients.form(PNG), timeout=20)
            return answer.status_code, answer.json().get("label", answer.json().get("code")), time.monotonic() - begun

        assert predict()[:2] == (503, "not_ready")
        with predictor(tiny_model, http, grpc) as process:
            status, label, _ = predict()
            assert status == 200
            with ThreadPoolExecutor(4) as pool:
                under_load = pool.map(predict, range(200))
                time.sleep(0.3)
                process.process.kill()
                answers = list(under_load)
        counts = Counter(status for status, _, _ in answers)
        assert set(counts) <= {200, 502, 503}
        assert counts[503] > 0
        assert {said for status, said, _ in answers if status == 200} <= {label}
        assert max(seconds for _, _, seconds in answers) < 3
        assert httpx.get(f"{served.url}/healthz").status_code == 200
        assert httpx.get(f"{served.url}/readyz").status_code == 503
        with predictor(tiny_model, http, grpc):
            assert predict()[:2] == (200, label)
            assert httpx.get(f"{served.url}/readyz").status_code == 200


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"MODEL_DIR": "/nowhere"}, "/nowhere/assets.extra/model.json cannot be read"),
        ({"MAX_IN_FLIGHT": "many"}, "MAX_IN_FLIGHT is 'many', wanted a number"),
        ({"MAX_IN_FLIGHT": "0"}, "MAX_IN_FLIGHT is 0, wanted a number above 0"),
        ({"PREDICTOR_TIMEOUT_SECONDS": "nan"}, "PREDICTOR_TIMEOUT_SECONDS is nan"),
        ({"COLOUR_MAP": "jet"}, "COLOUR_MAP is 'jet', wanted one of inferno, viridis, cividis"),
        ({"HTTP_PORT": "taken"}, "HTTP_PORT is 'taken'"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_it_with_one_line(setting: dict[str, str], said: str, tiny_model: Path) -> None:
    environment = os.environ | {"MODEL_DIR": str(tiny_model)} | setting
    ended = subprocess.run(
        [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {said}")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["HTTP_PORT", "GRPC_PORT"])
def test_a_port_that_is_taken_ends_it_with_one_line(name: str, tiny_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        ports = dict(zip(("HTTP_PORT", "GRPC_PORT"), map(str, free_ports(2)), strict=True))
        port = str(taken.getsockname()[1])
        environment = os.environ | {"MODEL_DIR": str(tiny_model)} | ports | {name: port}
        ended = subprocess.run(
            [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
    assert ended.returncode in (1, 3)
    assert port in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


def test_another_colour_map_gives_another_overlay(tiny_model: Path) -> None:
    with scripted() as script:
        overlays = []
        for name in ("inferno", "cividis"):
            with transformer(tiny_model, script.host, COLOUR_MAP=name) as served:
                overlays.append(clients.ask_predict(served.url, PNG).overlay)
    assert overlays[0] is not None
    assert overlays[0].shape == overlays[1].shape  # type: ignore[union-attr]
    assert (overlays[0] != overlays[1]).any()
