from typing import Any

import pytest
from pydantic import ValidationError

from brain_tumor.errors import InputError
from components.architectures import CONFIGS, FIELDS, help_texts, read_config
from components.architectures.cnn import CnnConfig
from components.architectures.evidence import EvidenceConfig


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("threshold_sensitivity", 1.0, "less than 1"),
        ("epochs", 0, "greater than or equal to 1"),
        ("learning_rate", -1.0, "greater than 0"),
        ("learning_rate", float("nan"), "a finite number"),
        ("weight_decay", float("inf"), "a finite number"),
        ("threshold", 0.0, "greater than 0 or 'auto'"),
        ("threshold", "high", "a valid number or 'auto'"),
        ("views", 1, "greater than or equal to 2"),
        ("image_size_px", 180, "a multiple of 32"),
        ("seed", -1, "greater than or equal to 0"),
    ],
)
def test_value_out_of_bounds_is_named(field: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError, match=rf"^{field}: got {value!r}, expected {expected}$"):
        read_config({}, **{field: value})


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("head", "attention", "'flatten' or 'pool'"),
        ("dropout", 1.0, "less than 1"),
        ("l2", float("inf"), "a finite number"),
        ("image_size_px", 8, "greater than or equal to 32"),
    ],
)
def test_value_of_cnn_out_of_bounds_is_named(field: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError, match=rf"^{field}: got {value!r}, expected {expected}$"):
        read_config({"architecture": "cnn", field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 16.5), ("epochs", True), ("epochs", "16"), ("zoom", "0.5"), ("zoom", False), ("horizontal_flip", 1.0)],
)
def test_value_of_another_type_is_rejected(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^{field}: got {value!r}, expected a valid "):
        read_config({field: value})


def test_whole_float_is_an_integer() -> None:
    config = read_config({"epochs": 16.0, "rotation_deg": 10})
    assert repr(config.epochs) == "16"
    assert repr(config.rotation_deg) == "10.0"


def test_every_bad_value_is_named_at_once() -> None:
    with pytest.raises(InputError, match=r"^epochs: got 0, .*; zoom: got 2, .*"):
        read_config({"epochs": 0, "zoom": 2})


def test_unknown_name_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^hyperparameters: got unknown name 'epoch' \(did you mean epochs\?\), .* epochs, "):
        read_config({"epoch": 3})


def test_seed_is_no_override_but_a_value_of_its_own() -> None:
    with pytest.raises(InputError, match=r"^hyperparameters: got seed, which is a parameter of its own"):
        read_config({"seed": 1})
    assert read_config({"epochs": 2}, seed=1) == EvidenceConfig(epochs=2, seed=1)


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        CnnConfig().epochs = 3


def test_every_field_states_its_meaning_default_and_architecture() -> None:
    texts = help_texts()
    assert texts["horizontal_flip"] == "Augmentation: mirror half of the images. default: true"
    assert texts["image_size_px"] == "Side of the square network input in pixels. default: 192 (evidence), 150 (cnn)"
    assert texts["dropout"] == "`cnn`: Fraction of the dense units dropped in training. default: 0.5"
    assert texts["architecture"] == "Architecture of the network: `evidence` or `cnn`. default: evidence"
    assert set(texts) == {name for config in CONFIGS.values() for name in config.model_fields}
    assert all(field.description for field in FIELDS.values())


def test_a_name_of_two_architectures_has_one_type() -> None:
    for name in EvidenceConfig.model_fields.keys() & CnnConfig.model_fields.keys() - {"architecture"}:
        assert EvidenceConfig.model_fields[name].annotation == CnnConfig.model_fields[name].annotation, name


def test_name_of_another_architecture_is_rejected_with_its_owner() -> None:
    with pytest.raises(
        InputError, match=r"^hyperparameters: got dropout, which belongs to architecture=cnn, with architecture=evidence$"
    ):
        read_config({"dropout": 0.3})
    with pytest.raises(
        InputError, match=r"^hyperparameters: got views, which belongs to architecture=evidence, with architecture=cnn$"
    ):
        read_config({"architecture": "cnn", "views": 4})
    with pytest.raises(InputError, match=r"^architecture: got 'resnet', expected evidence or cnn$"):
        read_config({"architecture": "resnet"})


def test_architecture_chooses_the_defaults() -> None:
    assert read_config({}) == EvidenceConfig()
    assert read_config({"architecture": "cnn", "epochs": 3}) == CnnConfig(epochs=3)
    assert (CnnConfig().threshold, EvidenceConfig().threshold) == (0.5, "auto")
