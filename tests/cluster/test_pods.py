"""The deploy step in a cluster with KServe, with pods and container images: `KUBECONFIG=... make test-cluster`."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from brain_tumor.model_card import MODEL_CARD_PATH
from components.deploy.deploy import deploy, promote, roll_back
from components.deploy.kubernetes_api import InferenceServiceClient
from components.deploy.rollout import Rollout
from components.deploy.waiting import RolloutError
from components.deploy.workload import pods
from tests.cluster.control_plane import ControlPlane
from tests.manifests.render import MANIFESTS
from tests.tools import tool

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="needs a cluster with KServe and the images of `make images`"),
]
NAMESPACE = "brain-tumor"
V1, V2, V3 = (f"pvc://brain-tumor-models/brain-tumor/{version}" for version in "123")
LOADER = Path(__file__).with_name("model-loader.yaml")


def kubectl(*arguments: str) -> str:
    done = subprocess.run([tool("kubectl"), "--namespace", NAMESPACE, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def store(plane: ControlPlane, tiny_model: Path, tmp_path: Path) -> Iterator[None]:
    """Apply the overlay `dev`, and copy versions 1 and 2 of a small model to its volume; there is no version 3."""
    kubectl("apply", "-f", str(MANIFESTS / "base" / "namespace.yaml"))
    kubectl("delete", "inferenceservice", "brain-tumor", "--ignore-not-found")
    kubectl("delete", "networkpolicy", "--all")  # of other overlays: they may keep the API server from the pods
    apply_overlay()
    kubectl("apply", "-f", str(LOADER))
    kubectl("wait", "--for=condition=Ready", "pod/model-loader", "--timeout=5m")
    for version in ("1", "2"):
        folder = Path(shutil.copytree(tiny_model, tmp_path / "brain-tumor" / version))
        card = json.loads((folder / MODEL_CARD_PATH).read_text()) | {"version": int(version)}
        (folder / MODEL_CARD_PATH).write_text(json.dumps(card))
    kubectl("exec", "model-loader", "--", "rm", "-rf", "/models/brain-tumor")
    kubectl("cp", str(tmp_path / "brain-tumor"), "model-loader:/models/brain-tumor")
    kubectl("delete", "pod", "model-loader")
    yield
    kubectl("delete", "inferenceservice", "brain-tumor")


def apply_overlay() -> None:
    kubectl("apply", "--server-side", "--kustomize", str(MANIFESTS / "overlays" / "dev"))


def versions(client: InferenceServiceClient) -> set[str]:
    """Return the versions that the pods of the service have."""
    variables = [each for pod in pods(client) for container in pod["spec"]["containers"] for each in container.get("env", [])]
    return {each["value"] for each in variables if each["name"] == "MODEL_VERSION"}


@pytest.mark.usefixtures("store")
def test_versions_are_deployed_promoted_and_rolled_back(plane: ControlPlane) -> None:
    client = InferenceServiceClient(NAMESPACE)
    restarts = [status["restartCount"] for pod in pods(client) for status in pod["status"].get("containerStatuses", [])]
    assert set(restarts) <= {0}, "without a model the pods wait"
    assert deploy(client, V1, canary_percent=10) == Rollout(V1)
    apply_overlay()
    assert versions(client) == {"1"}
    assert deploy(client, V2, canary_percent=10) == Rollout(V1, V2, 10)
    assert versions(client) == {"1", "2"}
    with pytest.raises(RolloutError, match="rolled back to version 1 at 100 %"):
        deploy(client, V3, canary_percent=10, ready_seconds=120)
    deploy(client, V2, canary_percent=10)
    assert promote(client) == Rollout(V2, previous=V1)
    assert versions(client) == {"2"}
    assert roll_back(client) == Rollout(V1)
    assert versions(client) == {"1"}
    with pytest.raises(httpx.HTTPStatusError):
        plane.request("GET", f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/brain-tumor-v2-predictor")
