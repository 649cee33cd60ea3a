"""The container images of `make images` with a read-only root, no capabilities and a numeric user without a name."""

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from brain_tumor.phantoms import phantom_pngs
from components.verify import verify
from sbom import IMAGES
from tests.conftest import ROOT, VERSION, DataSet
from tests.container_images.containers import NAMES, docker, image, missing_requirement, python, serving
from tests.serving import clients
from tests.serving.conftest import predictor
from tests.serving.processes import free_ports
from tests.tools import tool
from tests.ui.conftest import SLICES

pytestmark = pytest.mark.docker
PNG = phantom_pngs(1)[0]
BUILD_TOOLS = ("pip", "gcc", "cc", "make", "git")


@pytest.fixture
def require(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Skip if a container image cannot run here; fail if these tests are selected by `-m docker`."""

    def check(name: str) -> None:
        if reason := missing_requirement(name):
            (pytest.fail if request.config.option.markexpr else pytest.skip)(reason)

    return check


@pytest.mark.parametrize("name", NAMES)
def test_container_image_has_its_labels_and_only_its_own_code(name: str, require: Callable[[str], None]) -> None:
    require(name)
    (inspected,) = json.loads(docker("image", "inspect", image(name)))
    assert inspected["Config"]["User"] == "65532:65532"
    assert inspected["Config"]["Labels"]["org.opencontainers.image.title"] == f"brain-tumor-{name}"
    assert inspected["Config"]["Labels"]["org.opencontainers.image.version"] == VERSION
    print(f"{image(name)}: {inspected['Size'] / 1e6:.0f} MB, with its base image")
    tools = ", ".join(f"'{tool}'" for tool in BUILD_TOOLS)
    listing = f"""
import importlib.util, json, pathlib, shutil, sys
print(json.dumps({{
    "modules": [name for name in ("tensorflow", "kserve", "streamlit", "kfp") if importlib.util.find_spec(name)],
    "tools": [name for name in ({tools}) if shutil.which(name, path=f"{{sys.prefix}}/bin")],
    "folders": sorted(path.name for path in pathlib.Path("/app").iterdir()),
    "brain_tumor": sorted(path.name for path in pathlib.Path("/app/brain_tumor").glob("*.py")),
    "predictor": pathlib.Path("/app/serving/predictor").exists(),
    "gateway": pathlib.Path("/app/serving/dicomweb").exists(),
}}))"""
    content = json.loads(python(name, listing))
    assert content["tools"] == []
    assert content["folders"] == sorted(["brain_tumor", IMAGES[name].split("/")[0]])
    modules = {"components": ["tensorflow", "kfp"], "serving": ["kserve"], "dicomweb": [], "ui": ["streamlit"]}
    assert content["modules"] == modules[name]
    assert content["brain_tumor"] == sorted(path.name for path in (ROOT / "brain_tumor").glob("*.py"))
    assert content["predictor"] is False
    assert content["gateway"] is (name == "dicomweb")


def test_transformer_predicts_and_ends_on_sigterm(tiny_model: Path, tmp_path: Path, require: Callable[[str], None]) -> None:
    require("serving")
    with transformer(tiny_model, tmp_path) as running:
        explained = httpx.post(f"{running.url}/predict?explain=true", files=clients.form(PNG), timeout=30).json()
        body = {"signature_name": "explain", "instances": [{"image_bytes": {"b64": base64.b64encode(PNG).decode()}}]}
        response = httpx.post(f"{running.predictor_url}/v1/models/brain-tumor:predict", json=body, timeout=30).json()
        (direct,) = response["predictions"]
        assert explained["label"] == direct["label"]
        assert explained["probability"] == pytest.approx(direct["probability"][0], abs=1e-6)
        overlay = Image.open(io.BytesIO(base64.b64decode(explained["overlay_png"])))
        assert overlay.size == Image.open(io.BytesIO(PNG)).size
        assert clients.infer(running.grpc, clients.infer_request([PNG])).model_name == "brain-tumor"
        assert stopped(running.container) == 0


def test_web_page_shows_the_prediction_and_ends_on_sigterm(
    tiny_model: Path, tmp_path: Path, require: Callable[[str], None]
) -> None:
    require("serving")
    require("ui")
    port, metrics = free_ports(2)
    page_url = f"http://127.0.0.1:{port}"
    with (
        transformer(tiny_model, tmp_path) as running,
        serving(
            "ui", f"{page_url}/_stcore/health", {"PAGE_PORT": port, "METRICS_PORT": metrics, "API_URL": running.url}
        ) as container,
        sync_playwright() as playwright,
    ):
        prediction = httpx.post(f"{running.url}/predict", files=clients.form(PNG), timeout=30).json()
        browser = playwright.chromium.launch(executable_path=tool("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(page_url)
        page.locator(SLICES).set_input_files({"name": "slice.png", "mimeType": "image/png", "buffer": PNG})
        page.get_by_role("region", name="Prediction").wait_for(timeout=30_000)
        page.get_by_text("Opacity of the overlay").wait_for(timeout=30_000)
        shown = page.locator("body").inner_text()
        browser.close()
        assert f"{prediction['probability']:.3f}" in shown
        assert "Not for diagnosis" in shown
        assert "encountered an error" not in shown
        assert "brain_tumor_ui_sessions" in httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
        assert stopped(container) == 0


def test_train_step_trains(phantoms: DataSet, tmp_path: Path, require: Callable[[str], None]) -> None:
    require("components")
    shards, models = readable(phantoms.shards, tmp_path / "shards"), tmp_path / "models"
    models.mkdir()
    models.chmod(0o777)
    script = """
from pathlib import Path
from components.architectures.cnn import CnnConfig
from components.train.train import train
config = CnnConfig(image_size_px=48, filters=4, dense_units=8, epochs=2, batch_size=8)
train(Path("/shards"), model_dir=Path("/models/model"), config=config)"""
    output = python("components", script, mounts={shards: "/shards:ro", models: "/models"})
    assert "train: exported and verified" in output
    assert verify(models / "model")[0].endswith("classes no_tumor, tumor")


class Running(NamedTuple):
    """A transformer in a container, with its URL, its gRPC address and its predictor's URL."""

    container: str
    url: str
    grpc: str
    predictor_url: str


@contextmanager
def transformer(model_dir: Path, tmp_path: Path) -> Iterator[Running]:
    """Start the transformer in a container and its predictor outside."""
    model = readable(model_dir, tmp_path / "model")
    http, grpc, predictor_http, predictor_grpc = free_ports(4)
    url = f"http://127.0.0.1:{http}"
    env = {"HTTP_PORT": http, "GRPC_PORT": grpc, "PREDICTOR_HOST": f"127.0.0.1:{predictor_http}"}
    with (
        predictor(model_dir, predictor_http, predictor_grpc),
        serving("serving", f"{url}/readyz", env, {model: "/mnt/models:ro"}) as container,
    ):
        yield Running(container, url, f"127.0.0.1:{grpc}", f"http://127.0.0.1:{predictor_http}")


def readable(folder: Path, copy: Path) -> Path:
    """Copy a folder with read permission for the container's user."""
    shutil.copytree(folder, copy)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy


def stopped(container: str) -> int:
    """Stop a container by SIGTERM and return its exit status."""
    docker("stop", "--time=40", container)
    return int(docker("inspect", "--format={{.State.ExitCode}}", container))
