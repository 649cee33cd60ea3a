"""Fields of the deploy step that somebody else has changed: a conflict that names them, and `force` takes them over."""

from typing import Any

import pytest

from brain_tumor.errors import InputError
from components.deploy.deploy import deploy, promote, roll_back
from components.deploy.inferenceservice import STANDARD
from components.deploy.kubernetes_api import ConflictError, InferenceServiceClient
from components.deploy.rollout import Rollout
from tests.components.deploy.api_server import ApiServer
from tests.components.deploy.test_deploy import MODES, V1, V2, V3, predictor


def change_canary(server: ApiServer, mode: str, percent: int) -> str:
    """Change the canary's traffic percentage as `kubectl patch` does, and return the path of the field."""
    spec: dict[str, Any] = {"predictor": {"canaryTrafficPercent": percent}}
    if mode == STANDARD:
        (canary,) = server.service()["spec"]["canary"]
        spec = {"canary": [canary | {"trafficPercent": percent}]}
    server.patch({"spec": spec})
    return ".spec.canary" if mode == STANDARD else ".spec.predictor.canaryTrafficPercent"


@MODES
@pytest.mark.parametrize("command", [promote, roll_back])
def test_canary_that_somebody_changed_is_a_conflict_and_force_takes_it_over(
    server: ApiServer, client: InferenceServiceClient, mode: str, command: Any
) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    deploy(client, V2, canary_percent=10, mode=mode)
    path = change_canary(server, mode, 40)
    server.settle()
    with pytest.raises(ConflictError, match=f"^conflict with another field manager: `kubectl-patch` owns {path}; remove these"):
        command(client)
    assert server.settle()[-1] == {"1": 60, "2": 40}
    client.force = True
    served = command(client)
    assert server.settle()[-1] == ({"2": 100} if command is promote else {"1": 100})
    current = client.get()
    assert current is not None
    assert current.read_rollout() == served
    assert not server.service()["spec"].get("canary")


@MODES
def test_previous_version_that_somebody_wrote_is_not_kept_unsaid(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    deploy(client, V2, canary_percent=100, mode=mode)
    server.patch(
        {"metadata": {"name": "brain-tumor", "annotations": {"brain-tumor/previous-model": f"{V3}/"}}}, "kubectl-annotate"
    )
    with pytest.raises(ConflictError, match=r"`kubectl-annotate` owns .metadata.annotations.brain-tumor/previous-model"):
        roll_back(client)
    client.force = True
    assert roll_back(client) == Rollout(V3)
    assert server.service()["metadata"]["annotations"]["brain-tumor/previous-model"] == ""
    with pytest.raises(InputError, match="there is nothing to roll back to"):
        roll_back(client)


OWNED: dict[str, dict[str, Any]] = {
    ".spec.predictor.model.storageUri": {"spec": {"predictor": {"model": {"storageUri": f"{V3}/"}}}},
    '.spec.predictor.model.env[name="MODEL_VERSION"].value': {
        "spec": {"predictor": {"model": {"env": [{"name": "MODEL_VERSION", "value": "3"}]}}}
    },
    ".spec.predictor.annotations.brain-tumor/model-digest": {
        "spec": {"predictor": {"annotations": {"brain-tumor/model-digest": "3" * 64}}}
    },
    ".metadata.annotations.brain-tumor/previous-digest": {
        "metadata": {"name": "brain-tumor", "annotations": {"brain-tumor/previous-digest": "3" * 64}}
    },
}


@MODES
@pytest.mark.parametrize("path", OWNED)
def test_no_owned_field_that_somebody_changed_is_kept_unsaid(
    server: ApiServer, client: InferenceServiceClient, mode: str, path: str
) -> None:
    deploy(client, V1, canary_percent=10, digest="1" * 64, mode=mode)
    deploy(client, V2, canary_percent=100, digest="2" * 64)
    server.patch(OWNED[path])
    with pytest.raises(ConflictError) as caught:
        roll_back(client)
    assert f"`kubectl-patch` owns {path}" in str(caught.value)
    client.force = True
    assert roll_back(client) == Rollout(V1)
    model = predictor(server)["model"]
    assert (model["storageUri"], model["env"]) == (f"{V1}/", [{"name": "MODEL_VERSION", "value": "1"}])
    annotations = [predictor(server)["annotations"], server.service()["metadata"]["annotations"]]
    previous = "3" if path.endswith("previous-digest") else "1"  # what the service said when the command began
    assert annotations[0]["brain-tumor/model-digest"] == previous * 64
    assert annotations[1]["brain-tumor/previous-digest"] == "unverified"
