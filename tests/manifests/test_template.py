"""What the deploy step creates is what the manifests apply."""

from typing import Any

import yaml

from components.deploy.inferenceservice import KNATIVE, STANDARD, new_service
from tests.conftest import VERSION
from tests.manifests.render import MANIFESTS, overlay, the

COMPONENTS_IMAGE = f"brain-tumor-serving:{VERSION}"
OF_THE_OVERLAY = {
    "minReplicas",
    "maxReplicas",
    "scaleMetric",
    "scaleTarget",
    "containerConcurrency",
    "timeout",
    "canaryTrafficPercent",
}


def predictor(service: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in service["spec"]["predictor"].items() if key not in OF_THE_OVERLAY}


def test_on_deployments_it_is_the_base() -> None:
    base = yaml.safe_load((MANIFESTS / "base" / "inference-service.yaml").read_text())
    created = new_service(base["spec"]["predictor"]["model"]["storageUri"], mode=STANDARD, image=COMPONENTS_IMAGE)
    assert predictor(created) == predictor(base)


def test_on_knative_it_is_the_overlay() -> None:
    applied = the("InferenceService", overlay("knative"))
    created = new_service(applied["spec"]["predictor"]["model"]["storageUri"], mode=KNATIVE, image=COMPONENTS_IMAGE)
    assert predictor(created) == predictor(applied)
    assert created["metadata"]["annotations"] == applied["metadata"]["annotations"]
