from typing import Any

import pytest

from components.deploy.kubernetes_api import NotReadyError
from components.deploy.smoke import SmokeError, check_response

MODEL_CARD = {"classes": ["no_tumor", "tumor"], "threshold": 0.5}
PREDICTION = {
    "label": "tumor",
    "probability": 0.75,
    "model": {"name": "brain-tumor", "version": "2"},
    "heatmap": {"shape": [1, 1], "values": [1.0], "label": "tumor"},
}


def response(**changes: Any) -> dict[str, Any]:
    return {"predictions": [PREDICTION | changes]}


def test_valid_responses_pass() -> None:
    check_response(response(), MODEL_CARD, "2")
    check_response(response(label="no_tumor", probability=0.5), MODEL_CARD, "2")
    check_response(response(), {"classes": ["no_tumor", "tumor"]}, "2")
    check_response(
        response(label="glioma", probability={"glioma": 1.0, "no_tumor": 0.0}), {"classes": ["glioma", "no_tumor"]}, "2"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (response(label="cat"), "label in the smoke test: got 'cat', expected one of no_tumor, tumor"),
        (response(probability=1.5), "probability in the smoke test: got 1.5, expected 0 to 1"),
        (response(probability=float("nan")), "probability in the smoke test: got nan, expected 0 to 1"),
        (response(probability={"tumor": -0.1, "no_tumor": 1.1}), "expected 0 to 1"),
        (
            response(probability=0.25),
            "label in the smoke test: got 'tumor', but probability 0.25 and threshold 0.5 give 'no_tumor': model.json is not",
        ),
        (
            response(probability={"no_tumor": 0.75, "tumor": 0.25}),
            "label in the smoke test: got 'tumor', but the largest probability is that of 'no_tumor'",
        ),
        (response(heatmap=None), "heatmap in the smoke test: got none, expected one"),
        (response(model={}), "the smoke test got no valid prediction: KeyError: 'version'"),
        ({"predictions": []}, "the smoke test got no valid prediction: ValueError"),
        ([], "the smoke test got no valid prediction: TypeError"),
    ],
)
def test_invalid_response_is_an_error_with_its_value(body: Any, message: str) -> None:
    with pytest.raises(SmokeError) as caught:
        check_response(body, MODEL_CARD, "2")
    assert message in str(caught.value)


def test_model_card_whose_threshold_was_changed_contradicts_the_label() -> None:
    with pytest.raises(SmokeError, match=r"probability 0\.52 and threshold 0\.9 give 'no_tumor'"):
        check_response(response(probability=0.52), MODEL_CARD | {"threshold": 0.9}, "2")


def test_another_version_is_not_ready_rather_than_invalid() -> None:
    with pytest.raises(NotReadyError, match="model version in the smoke test: got 2, expected 3"):
        check_response(response(), MODEL_CARD, "3")
