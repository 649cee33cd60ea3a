"""A simulated cluster: an API server with KServe's controller, and real transformers in place of its pods."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from brain_tumor.model_card import MODEL_CARD_PATH
from components.deploy import waiting as module
from components.deploy.kubernetes_api import InferenceServiceClient
from tests.cluster.control_plane import kubeconfig_of
from tests.cluster.real_server import RealServer, require_simulated_controller
from tests.components.deploy.api_server import NAMESPACE, ApiServer, api_server
from tests.crds import require_crds
from tests.serving.conftest import Pair, service, transformer

__all__ = ["service"]
VERSIONS = ("1", "2", "3")


@pytest.fixture(scope="session")
def backends(tiny_model: Path, service: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Version -> URL of a transformer that serves it. All share one predictor."""
    host = service.predictor_url.removeprefix("http://")
    with ExitStack() as stack:
        urls = {}
        for version in VERSIONS:
            folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("store") / version))
            model_card = json.loads((folder / MODEL_CARD_PATH).read_text()) | {"version": int(version)}
            (folder / MODEL_CARD_PATH).write_text(json.dumps(model_card))
            urls[version] = stack.enter_context(transformer(folder, host)).url
        yield urls


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.cluster)])
def server(request: pytest.FixtureRequest, backends: dict[str, str]) -> Iterator[ApiServer | RealServer]:
    """An API server whose Services forward to the transformers: the simulated one, and with `-m cluster` a real one."""
    if request.param == "real":
        plane = request.getfixturevalue("plane")
        require_simulated_controller(plane)
        with RealServer(plane, dict(backends)).running() as real:
            yield real
    else:
        require_crds()
        with api_server() as server:
            server.backends = dict(backends)
            yield server


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig of the deploy step's account; KUBECONFIG names it."""
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig_of(server.host, server.ca, server.token))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def client(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> InferenceServiceClient:
    """The deploy step's client of the server, with a short poll interval."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    return InferenceServiceClient(NAMESPACE)
