"""A simulated cluster: an API server with KServe's controller, and real transformers in place of its pods."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from brain_tumor.model_card import MODEL_CARD_PATH
from components.deploy import deploy as module
from components.deploy.kubernetes_api import InferenceServiceClient
from tests.components.deploy.api_server import NAMESPACE, TOKEN, ApiServer, api_server
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


@pytest.fixture
def server(backends: dict[str, str]) -> Iterator[ApiServer]:
    """An API server whose Services forward to the transformers."""
    require_crds()
    with api_server() as server:
        server.backends = dict(backends)
        yield server


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig for the server; KUBECONFIG names it."""
    path = tmp_path / "kubeconfig"
    context = {"cluster": "test", "user": "test"}
    content = {
        "clusters": [{"name": "test", "cluster": {"server": server.host}}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": context}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def client(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> InferenceServiceClient:
    """The deploy step's client of the server, with a short poll interval."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    return InferenceServiceClient(NAMESPACE)
