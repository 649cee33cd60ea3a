"""The stand-in as a process: its start, its state while it loads, and its end."""

import json
import shutil
import signal
import socket
import time
from pathlib import Path

import grpc
import httpx
import pytest

from brain_tumor.model_card import WARMUP_REQUESTS
from tests.serving.clients import V1, b64, instances
from tests.serving.conftest import predictor
from tests.serving.predictor.conftest import PREDICT
from tests.serving.processes import free_ports, running

END_SECONDS = 5


def state(url: str) -> str:
    return httpx.get(url + V1).json()["model_version_status"][0]["state"]


def wait_for_state(url: str, expected: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if state(url) == expected:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"{url} was never {expected}")


def test_stand_in_reports_loading_and_finishes_requests_in_flight_at_sigterm(
    tiny_model: Path, images: list[bytes], ignored_sigint: None
) -> None:
    http, rpc = free_ports(2)
    url = f"http://127.0.0.1:{http}"
    env = {"MODEL_DIR": tiny_model, "PREDICTOR_HTTP_PORT": http, "PREDICTOR_GRPC_PORT": rpc}
    with running("serving.predictor", env) as service:
        wait_for_state(url, "LOADING")
        assert httpx.get(f"{url}{V1}/metadata").status_code == 503
        early = httpx.post(url + PREDICT, json=instances(images[:1]))
        assert (early.status_code, "loading" in early.json()["error"]) == (503, True)
        with grpc.insecure_channel(f"127.0.0.1:{rpc}") as channel, pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"", timeout=30)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        wait_for_state(url, "AVAILABLE")

        body = json.dumps(instances(images)).encode()
        with socket.create_connection(("127.0.0.1", http), timeout=30) as client:
            client.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
            time.sleep(0.5)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(ConnectionError):
                socket.create_connection(("127.0.0.1", http), timeout=30)
            client.sendall(body[-1:])
            with client.makefile("rb") as response:
                head, _, content = response.read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert len(json.loads(content)["predictions"]) == len(images)
        assert service.process.wait(END_SECONDS) == 0
        assert service.output.read_text() == ""


def test_sigterm_ends_the_stand_in_while_it_loads(tiny_model: Path) -> None:
    http, rpc = free_ports(2)
    env = {"MODEL_DIR": tiny_model, "PREDICTOR_HTTP_PORT": http, "PREDICTOR_GRPC_PORT": rpc}
    with running("serving.predictor", env) as service:
        wait_for_state(f"http://127.0.0.1:{http}", "LOADING")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(END_SECONDS) == 0


@pytest.mark.parametrize(
    "fault", ["folder", "saved_model.pb", "model.json", "unreadable", "variables", "weights", "warm-up", "port"]
)
def test_failed_start_prints_one_line(tiny_model: Path, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "model"
    if fault != "folder":
        shutil.copytree(tiny_model, folder)
    if fault == "unreadable":
        (folder / "saved_model.pb").write_bytes(b"\xff" * 100)
    elif fault == "variables":
        shutil.rmtree(folder / "variables")
    elif fault == "weights":
        weights = folder / "variables" / "variables.data-00000-of-00001"
        weights.write_bytes(weights.read_bytes()[:-9])
    elif fault == "warm-up":
        (folder / WARMUP_REQUESTS).write_bytes(b"damaged" * 9)
    elif fault in ("saved_model.pb", "model.json"):
        next(folder.rglob(fault)).unlink()
    http, rpc = free_ports(2)
    with socket.create_server(("0.0.0.0", http if fault == "port" else 0)):
        env = {"MODEL_DIR": folder, "PREDICTOR_HTTP_PORT": http, "PREDICTOR_GRPC_PORT": rpc}
        with running("serving.predictor", env) as service:
            assert service.process.wait(60) == 1
            (line,) = service.output.read_text().splitlines()
    assert line.startswith("error: ")
    assert ("in use" if fault == "port" else str(folder)) in line
    names = {"weights": "variables", "unreadable": "saved_model.pb", "warm-up": WARMUP_REQUESTS.name, "folder": "model.json"}
    assert fault == "port" or names.get(fault, fault) in line


def test_single_output_is_bare_and_several_are_an_object(tiny_model: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    class Echo(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"length": tf.strings.length(image_bytes)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def explain(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"same": image_bytes, "twice": tf.stack([image_bytes, image_bytes], axis=1)}

    echo, folder = Echo(), tmp_path / "7"
    tf.saved_model.save(echo, str(folder), signatures={"serving_default": echo.serving_default, "explain": echo.explain})
    (folder / "assets.extra").mkdir()
    shutil.copy(tiny_model / "assets.extra" / "model.json", folder / "assets.extra")
    http, rpc = free_ports(2)
    with predictor(folder, http, rpc):
        url = f"http://127.0.0.1:{http}{V1}"
        row = {"instances": ["ab", b64(b"abc")]}
        assert httpx.post(f"{url}/versions/7:predict", json=row).json() == {"predictions": [2, 3]}
        assert httpx.post(f"{url}:predict", json={"inputs": row["instances"]}).json() == {"outputs": [2, 3]}
        response = httpx.post(f"{url}:predict", json={"signature_name": "explain", "instances": ["ab"]}).json()
        assert response == {"predictions": [{"same": "ab", "twice": ["ab", "ab"]}]}
