import pytest

from components.deploy.inferenceservice import MODES, TEMPLATE, new_service
from tests.pod_security import violations


@pytest.mark.parametrize("mode", MODES)
def test_pod_meets_the_restricted_standard(mode: str) -> None:
    spec = new_service("s3://models/brain-tumor/1", mode=mode, image="registry/serving:1")["spec"]["predictor"]
    assert violations({"containers": spec["containers"]}) == []


def test_template_contains_no_model() -> None:
    text = TEMPLATE.read_text()
    assert "storageUri" not in text
    assert "name: MODEL_VERSION" not in text
