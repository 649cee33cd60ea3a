"""The deploy step creates the same service as the manifests."""

from typing import Any

import yaml

from components.deploy.inferenceservice import KNATIVE, STANDARD, TEMPLATE, new_service
from tests.conftest import VERSION
from tests.manifests.render import MANIFESTS, overlay, render, the

SERVING_IMAGE = f"brain-tumor-serving:{VERSION}"
SET_BY_OVERLAYS = {
    "minReplicas",
    "maxReplicas",
    "scaleMetric",
    "scaleTarget",
    "containerConcurrency",
    "timeout",
    "canaryTrafficPercent",
}


def predictor(service: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in service["spec"]["predictor"].items() if key not in SET_BY_OVERLAYS}


def test_standard_service_equals_the_base() -> None:
    base = the("InferenceService", render(MANIFESTS / "base"))
    created = new_service(base["spec"]["predictor"]["model"]["storageUri"], mode=STANDARD, image=SERVING_IMAGE)
    assert predictor(created) == predictor(base)


def test_knative_service_equals_the_overlay() -> None:
    applied = the("InferenceService", overlay("knative"))
    created = new_service(applied["spec"]["predictor"]["model"]["storageUri"], mode=KNATIVE, image=SERVING_IMAGE)
    assert predictor(created) == predictor(applied)
    assert created["metadata"]["annotations"] == applied["metadata"]["annotations"]


def test_base_is_built_from_the_template() -> None:
    (resource,) = yaml.safe_load(TEMPLATE.with_name("kustomization.yaml").read_text())["resources"]
    assert resource == TEMPLATE.name
    assert "../../components/deploy" in yaml.safe_load((MANIFESTS / "base" / "kustomization.yaml").read_text())["resources"]
