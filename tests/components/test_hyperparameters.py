from typing import Any

import pytest
from pydantic import ValidationError

from brain_tumor.errors import InputError
from components.hyperparameters import TrainConfig


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("head", "attention", "'flatten' or 'pool'"),
        ("dropout", 1.0, "less than 1"),
        ("epochs", 0, "greater than or equal to 1"),
        ("learning_rate", -1.0, "greater than 0"),
        ("learning_rate", float("nan"), "a finite number"),
        ("l2", float("inf"), "a finite number"),
        ("threshold", 0.0, "greater than 0"),
        ("image_size_px", 8, "greater than or equal to 32"),
        ("seed", -1, "greater than or equal to 0"),
    ],
)
def test_value_out_of_bounds_is_named(field: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError, match=rf"^{field}: got {value!r}, expected {expected}$"):
        TrainConfig.from_overrides({}, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 16.5), ("epochs", True), ("epochs", "16"), ("dropout", "0.5"), ("dropout", False), ("horizontal_flip", 1.0)],
)
def test_value_of_another_type_is_rejected(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^{field}: got {value!r}, expected a valid "):
        TrainConfig.from_overrides({field: value})


def test_whole_float_is_an_integer() -> None:
    config = TrainConfig.from_overrides({"epochs": 16.0, "rotation_deg": 10})
    assert repr(config.epochs) == "16"
    assert repr(config.rotation_deg) == "10.0"


def test_every_bad_value_is_named_at_once() -> None:
    with pytest.raises(InputError, match=r"^epochs: got 0, .*; zoom: got 2, .*"):
        TrainConfig.from_overrides({"epochs": 0, "zoom": 2})


def test_unknown_name_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^hyperparameters: got unknown name 'epoch' \(did you mean epochs\?\), .* dropout, "):
        TrainConfig.from_overrides({"epoch": 3})


def test_seed_is_no_override_but_a_value_of_its_own() -> None:
    with pytest.raises(InputError, match=r"^hyperparameters: got seed, which is a parameter of its own"):
        TrainConfig.from_overrides({"seed": 1})
    assert TrainConfig.from_overrides({"epochs": 2}, seed=1) == TrainConfig(epochs=2, seed=1)


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().epochs = 3


def test_every_field_states_its_meaning_and_default() -> None:
    texts = TrainConfig.help_texts()
    assert texts["horizontal_flip"] == "Augmentation: mirror half of the images. default: true"
    assert list(texts) == list(TrainConfig.model_fields)
    assert all(field.description for field in TrainConfig.model_fields.values())
