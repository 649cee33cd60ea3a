"""Start, end and recovery of the processes."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from brain_tumor.file_digests import FILE_DIGESTS, UNCHECKED, hash_files, model_digest, write_file_digests
from brain_tumor.images import read_image
from brain_tumor.model_card import MODEL_CARD_PATH
from brain_tumor.overlay import render_overlay
from serving.settings import MOUNTED_MODEL, Settings
from tests.serving import clients
from tests.serving.clients import PNG, form
from tests.serving.conftest import Pair, predictor, transformer
from tests.serving.fake_predictor import ROW, running_fake_predictor
from tests.serving.processes import ROOT, free_ports, running
from tests.serving.series_client import post
from tests.serving.test_connection_limits import limited


def test_sigterm_finishes_requests_in_flight(tiny_model: Path, ignored_sigint: None) -> None:
    with running_fake_predictor() as fake, transformer(tiny_model, fake.host) as served, ThreadPoolExecutor(2) as pool:
        fake.delay_seconds = 1.5
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


def test_sigterm_ends_longer_requests_with_503(tiny_model: Path) -> None:
    with (
        running_fake_predictor() as fake,
        limited(tiny_model, fake, DRAIN_SECONDS=1) as served,
        ThreadPoolExecutor(2) as pool,
    ):
        fake.delay_seconds = 8
        requests = [pool.submit(post, served.url, [PNG, PNG]), pool.submit(httpx.post, f"{served.url}/predict", files=form(PNG))]
        time.sleep(1)
        served.process.process.send_signal(signal.SIGTERM)
        expected = {"error": "the service stops before the request has ended; retry in 1 s", "code": "not_ready"}
        for response in [request.result() for request in requests]:
            assert (response.status_code, response.json(), response.headers["retry-after"]) == (503, expected, "1")
        assert served.process.process.wait(timeout=10) == 0
        assert "CancelledError" not in served.process.output.read_text()


def handles(pid: int, number: signal.Signals) -> bool:
    """Check whether a process has set a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) & 1 << number - 1)


@pytest.mark.parametrize("module", ["serving", "serving.predictor"])
def test_background_job_ends_on_sigint_while_it_starts(module: str, tiny_model: Path, ignored_sigint: None) -> None:
    http, grpc = map(str, free_ports(2))
    ports = {"HTTP_PORT": http, "GRPC_PORT": grpc, "PREDICTOR_HTTP_PORT": http, "PREDICTOR_GRPC_PORT": grpc}
    with running(module, ports | {"MODEL_DIR": tiny_model}) as service:
        while not handles(service.process.pid, signal.SIGINT):
            time.sleep(0.01)
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(timeout=20) == 0


@pytest.mark.parametrize("module", ["serving", "serving.predictor"])
def test_help_lists_every_variable(module: str) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    names = map(str.upper, Settings.model_fields) if module == "serving" else ["PREDICTOR_HTTP_PORT", "PREDICTOR_GRPC_PORT"]
    assert all(f"\n  {name} (default: " in printed for name in names)


def test_transformer_recovers_once_a_killed_predictor_is_back_and_both_end_on_sigint(
    tiny_model: Path, ignored_sigint: None
) -> None:
    http, grpc = free_ports(2)
    with transformer(tiny_model, f"127.0.0.1:{http}", PREDICTOR_TIMEOUT_SECONDS=2) as served:

        def predict(_: int = 0) -> tuple[int, str, float]:
            started = time.monotonic()
            response = httpx.post(f"{served.url}/predict", files=clients.form(PNG), timeout=20)
            return response.status_code, response.json().get("label", response.json().get("code")), time.monotonic() - started

        assert predict()[:2] == (503, "not_ready")
        with predictor(tiny_model, http, grpc) as process:
            status, label, _ = predict()
            assert status == 200
            with ThreadPoolExecutor(4) as pool:
                responses = pool.map(predict, range(200))
                time.sleep(0.3)
                process.process.kill()
                outcomes = list(responses)
        counts = Counter(status for status, _, _ in outcomes)
        assert set(counts) <= {200, 502, 503}
        assert counts[503] > 0
        assert {predicted for status, predicted, _ in outcomes if status == 200} <= {label}
        assert max(seconds for _, _, seconds in outcomes) < 3
        assert httpx.get(f"{served.url}/healthz").status_code == 200
        assert httpx.get(f"{served.url}/readyz").status_code == 503
        with predictor(tiny_model, http, grpc) as process:
            assert predict()[:2] == (200, label)
            assert httpx.get(f"{served.url}/readyz").status_code == 200
            for service in (process, served.process):
                service.process.send_signal(signal.SIGINT)
                assert service.process.wait(timeout=20) == 0
                assert "Traceback" not in service.output.read_text()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"MODEL_DIR": "/nowhere"}, "/nowhere/assets.extra/model.json cannot be read"),
        ({"MAX_IN_FLIGHT": "many"}, "MAX_IN_FLIGHT: got 'many', expected a valid integer"),
        ({"MAX_IN_FLIGHT": "0"}, "MAX_IN_FLIGHT: got '0', expected a number greater than 0"),
        ({"PREDICTOR_TIMEOUT_SECONDS": "nan"}, "PREDICTOR_TIMEOUT_SECONDS: got 'nan'"),
        ({"COLOUR_MAP": "jet"}, "COLOUR_MAP: got 'jet', expected one of inferno, viridis, cividis"),
        ({"CORS_ORIGINS": "https://a.example, b.example"}, "CORS_ORIGINS: got 'b.example', expected *, or a scheme and a host"),
        ({"CORS_ORIGINS": "https://a.example/"}, "CORS_ORIGINS: got 'https://a.example/'"),
        ({"PREDICTOR_HOST": "http://predictor:8090"}, "PREDICTOR_HOST: got 'http://predictor:8090', expected a host and a port"),
        ({"HTTP_PORT": "taken"}, "HTTP_PORT: got 'taken'"),
        ({"HTTP_PORT": ""}, "HTTP_PORT: got ''"),
    ],
)
def test_invalid_setting_ends_the_process_with_one_line(setting: dict[str, str], message: str, tiny_model: Path) -> None:
    environment = os.environ | {"MODEL_DIR": str(tiny_model)} | setting
    ended = subprocess.run(
        [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {message}")
    assert len(ended.stderr.splitlines()) == 1


def start_transformer(model_dir: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a transformer that is expected to end by itself."""
    environment = os.environ | {"MODEL_DIR": str(model_dir)} | settings
    return subprocess.run(
        [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


def test_damaged_model_ends_the_process_with_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    write_file_digests(folder)
    card = folder / MODEL_CARD_PATH
    card.write_text(card.read_text().replace('"threshold": 0.5', '"threshold": 0.9'))
    (folder / "variables" / "variables.index").unlink()
    (folder / "notes.txt").touch()
    ended = start_transformer(folder)
    problems = "assets.extra/model.json was changed; variables/variables.index is missing; notes.txt was added"
    assert (ended.returncode, ended.stderr) == (1, f"error: the model in {folder} is damaged: {problems}\n")


def test_model_without_digests_is_served_with_one_line_that_says_so(brightness_service: Pair) -> None:
    lines = brightness_service.transformer.output.read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines if "cannot be checked" in line] == [UNCHECKED]
    assert clients.call_predict(brightness_service.url, PNG).label in ("no_tumor", "tumor")


def test_model_with_its_digests_is_served_without_that_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    write_file_digests(folder)
    with running_fake_predictor() as fake, transformer(folder, fake.host) as served:
        assert clients.call_predict(served.url, PNG).label == ROW["label"]
        assert "cannot be checked" not in served.process.output.read_text()


def test_model_that_is_not_the_verified_one_ends_the_process_with_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    write_file_digests(folder)
    verified = hashlib.sha256((folder / FILE_DIGESTS).read_bytes()).hexdigest()
    card = folder / MODEL_CARD_PATH
    card.write_text(card.read_text().replace('"threshold": 0.5', '"threshold": 0.9'))
    write_file_digests(folder)  # as somebody does who can write to the store
    got = hashlib.sha256((folder / FILE_DIGESTS).read_bytes()).hexdigest()
    ended = start_transformer(folder, MODEL_DIGEST=verified)
    assert (ended.returncode, ended.stderr) == (
        1,
        f"error: the model in {folder} is not the one that was verified: got the digest {got}, expected {verified}\n",
    )
    ended = start_transformer(folder, MODEL_DIGEST="latest")
    assert ended.stderr == "error: MODEL_DIGEST: got 'latest', expected the SHA-256 of a model's files.sha256, or unverified\n"


def test_verified_model_is_served(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_DIGEST", model_digest(hash_files(tiny_model)))  # of an early model, without files.sha256
    with running_fake_predictor() as fake, transformer(tiny_model, fake.host) as served:
        assert clients.call_predict(served.url, PNG).label == ROW["label"]
        assert "cannot be checked" not in served.process.output.read_text()


def test_pod_gives_the_digest_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_DIGEST", raising=False)
    for content, expected in (("", ""), ("unverified", ""), ("ab" * 32 + "\n", "ab" * 32)):
        (tmp_path / "MODEL_DIGEST").write_text(content)
        assert Settings(_secrets_dir=tmp_path).model_digest == expected  # type: ignore[call-arg]


@pytest.mark.skipif(MOUNTED_MODEL.exists(), reason="KServe mounted a model")
def test_pod_without_a_model_is_alive_and_never_ready() -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with running("serving", {"HTTP_PORT": port}, f"{url}/healthz") as waiting:
        for path in ("/readyz", "/predict", "/v1/models/brain-tumor:predict"):
            for response in (httpx.get(url + path), httpx.post(url + path, content=b"x")):
                assert response.status_code == 503
                assert response.json() == {"error": "no model is deployed yet", "code": "not_ready"}
        waiting.process.send_signal(signal.SIGTERM)
        assert waiting.process.wait(timeout=10) == 0
        assert waiting.output.read_text().splitlines() == [
            f"no model is deployed yet: waiting on port {port}; the first deploy replaces this pod"
        ]


@pytest.mark.parametrize("name", ["HTTP_PORT", "GRPC_PORT"])
def test_port_in_use_ends_the_process_with_one_line(name: str, tiny_model: Path) -> None:
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


def test_colour_map_setting_changes_the_overlay(tiny_model: Path) -> None:
    with running_fake_predictor() as fake, transformer(tiny_model, fake.host, COLOUR_MAP="cividis") as served:
        overlay = clients.call_predict(served.url, PNG).overlay
    assert overlay is not None
    pixels, heatmap = read_image(PNG).pixels, np.array(ROW["heatmap"])
    assert np.array_equal(overlay, render_overlay(pixels, heatmap, colour_map="cividis"))
    assert not np.array_equal(overlay, render_overlay(pixels, heatmap, colour_map="inferno"))
