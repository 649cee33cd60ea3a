"""The champion, served from the registry."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.pipelines.conftest import ENVIRONMENT
from tests.serving.processes import free_ports

PORTS = ("HTTP_PORT", "GRPC_PORT", "PREDICTOR_HTTP_PORT", "PREDICTOR_GRPC_PORT", "PAGE_PORT", "METRICS_PORT")


@contextmanager
def serving(runs: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `python -m pipelines.local.serve` on free ports; yield it with the lines it wrote until it was ready or ended."""
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    command = [sys.executable, "-m", "pipelines.local.serve", "--runs", str(runs), *options]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT | ports | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line.rstrip("\n"))
            if line.startswith("serve: until"):
                break
        try:
            yield process, said
        finally:
            process.terminate()


def test_the_champion_is_served_with_three_examples_and_the_page_until_it_is_stopped(runs: Path, passed: object) -> None:
    with serving(runs, "--examples", "3", "--page") as (process, said):
        (address,) = [line.split()[5].rstrip(",") for line in said if line.startswith("serve: brain-tumor version 1 at ")]
        assert httpx.get(f"{address}/readyz").status_code == 200
        (page,) = [line.split()[-1] for line in said if line.startswith("serve: the page at ")]
        assert httpx.get(f"{page}/_stcore/health").text == "ok"
        assert f"page: {page}, asking {address}" in said
        assert httpx.get(f"{address}/model").json()["version"] == 1
        examples = runs / "latest" / "examples"
        assert sorted(path.name for path in examples.iterdir()) == [
            name for index in (1, 2, 3) for name in (f"{index}-overlay.png", f"{index}.png")
        ]
        lines = [line for line in said if "-overlay.png  called " in line]
        assert len(lines) == 3
        image, line = (examples / "1.png").read_bytes(), lines[0]
        again = httpx.post(f"{address}/predict", files={"file": ("a", image)}).json()
        assert f"called {again['label']}, confidence {again['confidence']:.3f}" in line
        with Image.open(examples / "1.png") as plain, Image.open(examples / "1-overlay.png") as overlay:
            assert plain.size == overlay.size
        assert any("Not for diagnosis" in line for line in said)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=40) == 0
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{address}/healthz")
        with pytest.raises(httpx.TransportError):
            httpx.get(page)


def test_serve_runtime_starts_tensorflow_serving(runs: Path, passed: object, tmp_path: Path) -> None:
    """A program of that name stands in for the real one: it takes its options and must find the version's folder."""
    program = tmp_path / "tensorflow_model_server"
    program.write_text(
        f"""#!{sys.executable}
import os, sys
options = dict(option.removeprefix("--").split("=", 1) for option in sys.argv[1:])
folder = os.path.join(options["model_base_path"], "1")
assert options["model_name"] == "brain-tumor" and os.path.exists(os.path.join(folder, "saved_model.pb")), options
ports = {{"PREDICTOR_HTTP_PORT": options["rest_api_port"], "PREDICTOR_GRPC_PORT": options["port"]}}
print("tensorflow_model_server started", flush=True)
os.execve(sys.executable, [sys.executable, "-m", "serving.predictor"], os.environ | ports | {{"MODEL_DIR": folder}})
"""
    )
    program.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    with serving(runs, SERVE_RUNTIME="tensorflow_model_server", PATH=path) as (process, said):
        assert "tensorflow_model_server started" in said
        assert any("brain-tumor version 1 at" in line for line in said)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=40) == 0


def test_what_cannot_be_served_is_said(runs: Path, passed: object, tmp_path: Path) -> None:
    with serving(tmp_path) as (process, said):
        assert process.wait(timeout=60) == 2
        assert said == ["there is no champion: no model has passed the gate yet"]
    with serving(runs, SERVE_RUNTIME="no_such_server") as (process, said):
        assert process.wait(timeout=60) == 1
        assert said[-1].startswith("error: SERVE_RUNTIME is 'no_such_server', and there is no such program")
    with serving(runs, MAX_IN_FLIGHT="x") as (process, said):
        assert process.wait(timeout=60) == 1
        assert any("MAX_IN_FLIGHT is 'x', wanted a number" in line for line in said)
        assert said[-1] == "error: the transformer ended with status 1"
