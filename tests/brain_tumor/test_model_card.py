"""model.json: the keys of new exports, and those that an early model lacks."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from brain_tumor.model_card import MODEL_CARD_PATH, SCHEMA, ModelCardError, read_model_card
from tests.serving.brightness_model import CARD, CARD_0_1_0


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / MODEL_CARD_PATH
    path.parent.mkdir()
    path.write_text(json.dumps(document))
    return folder


def validate(document: dict[str, Any]) -> None:
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize(("document", "explanation"), [(CARD, "evidence"), (CARD_0_1_0, "grad_cam")], ids=["new", "early"])
def test_card_is_valid_and_names_the_method_of_explanation(document: dict[str, Any], explanation: str, tmp_path: Path) -> None:
    validate(document)
    card = read_model_card(write(tmp_path, document))
    assert (card.explanation, card.version, card.document) == (explanation, "3", document)


def test_missing_key_is_named(tmp_path: Path) -> None:
    document = {key: value for key, value in CARD.items() if key != "threshold"}
    with pytest.raises(ModelCardError, match="lacks \\['threshold'\\]"):
        read_model_card(write(tmp_path, document))


def test_model_above_two_classes_without_pretrained_weights_is_valid() -> None:
    threshold = {"value": None, "rule": "fixed", "sensitivity": None, "fitted_on": None}
    validate(CARD | {"weights": None, "threshold": None, "calibration": CARD["calibration"] | {"threshold": threshold}})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("explanation",), "saliency"),
        (("calibration", "temperature", "value"), 0),
        (("calibration", "threshold", "rule"), "best"),
        (("calibration", "conformal", "error"), 1),
        (("calibration", "conformal", "min_probability", "tumor"), 1.1),
        (("calibration", "in_distribution", "method"), "knn"),
        (("calibration", "in_distribution", "features"), 0),
        (("calibration", "in_distribution"), None),
        (("weights", "sha256"), "abc"),
        (("weights", "license"), None),
    ],
)
def test_schema_rejects_an_invalid_value(path: tuple[str, ...], value: object) -> None:
    document = copy.deepcopy(CARD)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError) as raised:
        validate(document)
    assert list(raised.value.absolute_path) == list(path)
