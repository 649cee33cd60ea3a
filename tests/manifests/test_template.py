"""The deploy step creates the same service as the manifests."""

from typing import Any

import yaml

from components.deploy.inferenceservice import KNATIVE, STANDARD, TEMPLATE, new_service
from tests.conftest import VERSION
from tests.manifests.render import MANIFESTS, OVERLAYS, overlay, render, the

SERVING_IMAGE = f"brain-tumor-serving:{VERSION}"
SET_BY_OVERLAYS = {
    "minReplicas",
    "maxReplicas",
    "scaleMetric",
    "scaleTarget",
    "containerConcurrency",
    "timeout",
}
SET_BY_THE_DEPLOY_STEP = ("storageUri", "env")


def predictor(service: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in service["spec"]["predictor"].items() if key not in SET_BY_OVERLAYS}


def created(mode: str) -> dict[str, Any]:
    """Return the service that the deploy step creates, without the fields that it applies as their owner."""
    service = new_service("s3://models/brain-tumor/1", mode=mode, image=SERVING_IMAGE)
    for key in SET_BY_THE_DEPLOY_STEP:
        del service["spec"]["predictor"]["model"][key]
    return service


def test_standard_service_equals_the_base() -> None:
    base = the("InferenceService", render(MANIFESTS / "base"))
    assert predictor(created(STANDARD)) == predictor(base)


def test_knative_service_equals_the_overlay() -> None:
    applied = the("InferenceService", overlay("knative"))
    assert predictor(created(KNATIVE)) == predictor(applied)
    assert created(KNATIVE)["metadata"]["annotations"] == applied["metadata"]["annotations"]


def test_manifests_name_nothing_that_the_deploy_step_applies() -> None:
    for folder in (MANIFESTS / "base", *(MANIFESTS / "overlays" / name for name in OVERLAYS)):
        service = the("InferenceService", render(folder))
        assert "canary" not in service["spec"]
        assert "canaryTrafficPercent" not in service["spec"]["predictor"]
        assert not set(SET_BY_THE_DEPLOY_STEP) & set(service["spec"]["predictor"]["model"])
        assert not any(key.startswith("brain-tumor/") for key in service["metadata"]["annotations"])


def test_base_is_built_from_the_template() -> None:
    (resource,) = yaml.safe_load(TEMPLATE.with_name("kustomization.yaml").read_text())["resources"]
    assert resource == TEMPLATE.name
    assert "../../components/deploy" in yaml.safe_load((MANIFESTS / "base" / "kustomization.yaml").read_text())["resources"]
