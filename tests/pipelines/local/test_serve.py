"""The champion of the registry, served on this machine."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from brain_tumor.file_digests import FILE_DIGESTS
from pipelines.local.serve import main
from tests.conftest import ROOT
from tests.pipelines.conftest import ENVIRONMENT, IGNORING_SIGINT
from tests.serving.processes import free_ports

PORTS = ("HTTP_PORT", "GRPC_PORT", "PREDICTOR_HTTP_PORT", "PREDICTOR_GRPC_PORT", "PAGE_PORT", "METRICS_PORT")


@contextmanager
def serving(runs: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `python -m pipelines.local.serve` in the background on free ports; yield it with its lines up to readiness or end."""
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    command = [*IGNORING_SIGINT, sys.executable, "-m", "pipelines.local.serve", "--runs", str(runs), *options]
    with subprocess.Popen(
        command, env=ENVIRONMENT | ports | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line == "serve: press Ctrl-C to stop\n":
                break
        try:
            yield process, lines
        finally:
            process.terminate()


@pytest.fixture
def moved_runs(runs: Path, passed: object) -> Iterator[Path]:
    """The folder of the runs, renamed for one test."""
    moved = runs.rename(runs.with_name("moved %3F?"))
    yield moved
    moved.rename(runs)


def test_serve_runs_the_champion_of_a_moved_folder_with_examples_and_the_web_page(moved_runs: Path) -> None:
    runs = moved_runs
    proxy = f"http://127.0.0.1:{free_ports(1)[0]}"  # nothing listens there
    with serving(runs, "--examples", "3", "--page", HTTP_PROXY=proxy, http_proxy=proxy) as (process, lines):
        (url,) = [line.split()[5].rstrip(",") for line in lines if line.startswith("serve: brain-tumor version 1 at ")]
        assert httpx.get(f"{url}/readyz").status_code == 200
        (page,) = [line.split()[-1] for line in lines if line.startswith("serve: web page at ")]
        assert httpx.get(f"{page}/_stcore/health").text == "ok"
        assert f"page: {page}, service: {url}" in lines
        assert httpx.get(f"{url}/model").json()["version"] == 1
        examples = runs / "latest" / "examples"
        assert sorted(path.name for path in examples.iterdir()) == [
            name for index in (1, 2, 3) for name in (f"{index}-overlay.png", f"{index}.png")
        ]
        results = [line for line in lines if "-overlay.png  predicted " in line]
        assert len(results) == 3
        image = (examples / "1.png").read_bytes()
        again = httpx.post(f"{url}/predict", files={"file": ("a", image)}).json()
        assert f"predicted {again['label']} (confidence {again['confidence']:.3f})" in results[0]
        with Image.open(examples / "1.png") as plain, Image.open(examples / "1-overlay.png") as overlay:
            assert plain.size == overlay.size
        assert any("Not for diagnosis" in line for line in lines)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=40) == 0
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/healthz")
        with pytest.raises(httpx.TransportError):
            httpx.get(page)


def test_serve_runtime_starts_tensorflow_serving_and_an_interrupt_of_the_background_job_stops_it(
    runs: Path, passed: object, tmp_path: Path
) -> None:
    """A program of the same name replaces the real one: it takes the same options and must find the version's folder.

    It serves a fake predictor.
    """
    program = tmp_path / "tensorflow_model_server"
    program.write_text(
        f"""#!{sys.executable}
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.serving.fake_predictor import running_fake_predictor
options = dict(option.removeprefix("--").split("=", 1) for option in sys.argv[1:])
folder = os.path.join(options["model_base_path"], "1")
assert options["model_name"] == "brain-tumor" and os.path.exists(os.path.join(folder, "saved_model.pb")), options
assert options["port"] == os.environ["PREDICTOR_GRPC_PORT"], options
with running_fake_predictor(int(options["rest_api_port"])):
    print("tensorflow_model_server started", flush=True)
    signal.pause()
"""
    )
    program.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    with serving(runs, SERVE_RUNTIME="tensorflow_model_server", PATH=path) as (process, lines):
        assert "tensorflow_model_server started" in lines
        assert any("brain-tumor version 1 at" in line for line in lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=40) == 0


def test_serve_names_the_reason_if_it_cannot_serve(runs: Path, passed: object, empty_registry: Path, tmp_path: Path) -> None:
    shutil.copy(empty_registry, tmp_path)
    with serving(tmp_path) as (process, lines):
        assert process.wait(timeout=240) == 2
        assert lines == ["there is no champion: no model has passed the gate yet"]
    with serving(runs, SERVE_RUNTIME="no_such_server") as (process, lines):
        assert process.wait(timeout=240) == 1
        assert lines[-1].startswith("error: SERVE_RUNTIME: got 'no_such_server', which is no program")
    with serving(runs, MAX_IN_FLIGHT="x") as (process, lines):
        assert process.wait(timeout=240) == 1
        assert any("MAX_IN_FLIGHT: got 'x', expected a valid integer" in line for line in lines)
        assert lines[-1] == "error: the transformer ended with status 1"


@pytest.fixture
def version(runs: Path, passed: object) -> Iterator[Path]:
    """The folder of version 1, which a test may damage."""
    folder = runs / "models" / "brain-tumor" / "1"
    intact = shutil.copytree(folder, runs / "intact")
    yield folder
    shutil.rmtree(folder)
    intact.rename(folder)


def test_serve_names_the_damaged_files(runs: Path, version: Path) -> None:
    weights, card = version / "variables" / "variables.data-00000-of-00001", version / "assets.extra" / "model.json"
    card.write_text(card.read_text().replace('"threshold": 0', '"threshold": 0.0'))
    (version / "saved_model.pb").unlink()
    weights.write_bytes(weights.read_bytes()[:-100])
    with serving(runs) as (process, lines):
        assert process.wait(timeout=240) == 1
    problems = f"assets.extra/model.json was changed; saved_model.pb is missing; {weights.relative_to(version)} was changed"
    assert lines == [f"error: version 1 is damaged: {problems}"]


@pytest.mark.long
def test_serve_of_an_early_model_says_that_its_files_cannot_be_checked_and_names_damage(runs: Path, version: Path) -> None:
    (version / FILE_DIGESTS).unlink()
    with serving(runs) as (process, lines):
        assert lines[-1] == "serve: press Ctrl-C to stop"
        assert len([line for line in lines if "its files cannot be checked" in line]) == 1
    weights = version / "variables" / "variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:-100])
    with serving(runs) as (process, lines):
        assert process.wait(timeout=240) == 1
    assert any(line.startswith("error: a file in ") and "/brain-tumor/1/variables, or " in line for line in lines)
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("module", ["serving.predictor", "serving"])
def test_serve_ends_and_names_the_process_that_died(runs: Path, passed: object, module: str) -> None:
    with serving(runs) as (process, _):
        (child,) = [each for each in psutil.Process(process.pid).children() if each.cmdline()[-2:] == ["-m", module]]
        child.kill()
        assert process.stdout is not None
        rest = process.stdout.read()
        assert process.wait(timeout=5) == 1
        name = {"serving": "the transformer", "serving.predictor": "the predictor"}[module]
        assert rest.endswith(f"error: {name} ended with signal 9\n")


def test_serve_that_is_killed_leaves_no_process(runs: Path, passed: object) -> None:
    with serving(runs) as (process, _):
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.kill()
        process.wait(timeout=5)
        _, alive = psutil.wait_procs(children, timeout=3)
        assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []


def test_serve_names_the_versions_that_lie_beside_an_emptied_registry(
    empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty_registry, tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "argv", ["serve", "--runs", str(tmp_path)])
    assert main() == 2
    assert capsys.readouterr().out == "there is no champion: no model has passed the gate yet\n"
    for version in (2, 10):
        (tmp_path / "models" / "brain-tumor" / str(version)).mkdir(parents=True)
        (tmp_path / "models" / "brain-tumor" / str(version) / "saved_model.pb").touch()
    assert main() == 2
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert capsys.readouterr().out == (
        f"there is no champion: the model store {tmp_path}/models has versions that the registry {uri} does not know: 2, 10; "
        f"register them with `.venv/bin/python -m components.register --model-store {tmp_path}/models --tracking-uri {uri}` "
        "or move them away\n"
    )
