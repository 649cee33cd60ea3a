from typing import Any

import pytest

from components.deploy.kubernetes_api import NotReadyError
from components.deploy.smoke import SmokeError, check_answer

MODEL_CARD_PATH = {"classes": ["no_tumor", "tumor"]}
PREDICTION = {
    "label": "tumor",
    "probability": 0.75,
    "model": {"name": "brain-tumor", "version": "2"},
    "heatmap": {"shape": [1, 1], "values": [1.0], "label": "tumor"},
}


def answer(**changes: Any) -> dict[str, Any]:
    return {"predictions": [PREDICTION | changes]}


def test_right_answers_pass() -> None:
    check_answer(answer(), MODEL_CARD_PATH, "2")
    check_answer(answer(label="glioma", probability={"glioma": 1.0, "no_tumor": 0.0}), {"classes": ["glioma", "no_tumor"]}, "2")


@pytest.mark.parametrize(
    ("came", "message"),
    [
        (answer(label="cat"), "a phantom is labelled 'cat', wanted one of no_tumor, tumor"),
        (answer(probability=1.5), "the probability of a phantom is 1.5, wanted one within 0 to 1"),
        (answer(probability=float("nan")), "the probability of a phantom is nan, wanted one within 0 to 1"),
        (answer(probability={"tumor": -0.1, "no_tumor": 1.1}), "wanted one within 0 to 1"),
        (answer(heatmap=None), "a phantom is not explained"),
        (answer(model={}), "the answer to a phantom is no prediction: KeyError: 'version'"),
        ({"predictions": []}, "the answer to a phantom is no prediction: ValueError"),
        ([], "the answer to a phantom is no prediction: TypeError"),
    ],
)
def test_wrong_answer_is_named(came: Any, message: str) -> None:
    with pytest.raises(SmokeError) as caught:
        check_answer(came, MODEL_CARD_PATH, "2")
    assert message in str(caught.value)


def test_other_version_is_told_from_a_wrong_answer() -> None:
    with pytest.raises(NotReadyError, match="version 2 answers, wanted version 3"):
        check_answer(answer(), MODEL_CARD_PATH, "3")
