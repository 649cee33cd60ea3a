import argparse
import json
from typing import Any

import pytest

from brain_tumor.errors import InputError
from components.architectures import CONFIGS, FIELDS, help_texts
from pipelines.parameters import add_parameter_options, parse_parameters


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", r"--set: got unknown name 'epoch' \(did you mean epochs\?\), expected one of accelerator, "),
        ("epochs", "--set: got epochs, expected NAME=VALUE"),
        ("epochs=0", "epochs: got 0, expected greater than or equal to 1"),
        ("min_auc=nan", "min_auc: got 'nan', expected a finite number"),
        ("epochs=many", "epochs: got 'many', expected a valid integer"),
        ("horizontal_flip=maybe", "horizontal_flip: got 'maybe', expected true or false"),
        ("node_selector=a100", "node_selector: got 'a100', expected a JSON object"),
        ("seed=-1", "seed: got -1, expected greater than or equal to 0"),
        ("hyperparameters=3", "hyperparameters: got '3', expected a JSON object"),
        ('hyperparameters={"epoch": 3}', r"hyperparameters: got unknown name 'epoch' \(did you mean epochs\?\)"),
        ('hyperparameters={"epochs": "3"}', "epochs: got '3', expected a valid integer"),
        ('hyperparameters={"shift": NaN}', "shift: got nan, expected a finite number"),
        ('hyperparameters={"seed": 3}', "hyperparameters: got seed, which is a parameter of its own"),
    ],
)
def test_invalid_parameter_is_named(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        parse_parameters([setting])


def test_parameters_have_the_declared_type() -> None:
    settings = [
        "architecture=cnn",
        "epochs=3",
        "l2=1e-3",
        "horizontal_flip=False",
        "head=pool",
        'node_selector={"a": "b"}',
        'tolerations=[{"key": "c"}]',
        "seed=7",
    ]
    assert parse_parameters(settings) == {
        "hyperparameters": {"architecture": "cnn", "epochs": 3, "l2": 0.001, "horizontal_flip": False, "head": "pool"},
        "node_selector": {"a": "b"},
        "tolerations": [{"key": "c"}],
        "seed": 7,
    }
    assert parse_parameters([]) == {}


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"seed", "architecture"}))
def test_every_hyper_parameter_is_set_by_name_or_as_json(name: str) -> None:
    owner = next(architecture for architecture, config in CONFIGS.items() if name in config.model_fields)
    value: Any = CONFIGS[owner]().model_dump()[name]  # type: ignore[call-arg]
    expected = {"hyperparameters": {"architecture": owner, name: value}}
    assert parse_parameters([f"architecture={owner}", f"{name}={value}"]) == expected
    assert parse_parameters([f"hyperparameters={json.dumps({'architecture': owner, name: value})}"]) == expected


def test_hyper_parameters_by_name_and_as_json_are_merged() -> None:
    settings = ["epochs=3", 'hyperparameters={"zoom": 0.2, "epochs": 3.0}', "shift=0"]
    assert parse_parameters(settings) == {"hyperparameters": {"epochs": 3, "zoom": 0.2, "shift": 0}}


@pytest.mark.parametrize("second", ["epochs=4", 'hyperparameters={"epochs": 4}'])
def test_hyper_parameter_with_two_values_is_rejected(second: str) -> None:
    with pytest.raises(InputError, match=r"^--set: got two values of epochs, 3 and 4, expected one$"):
        parse_parameters(["epochs=3", second])


def test_help_lists_every_hyper_parameter_with_meaning_and_default() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    add_parameter_options(parser, source_help="a folder")
    words = " ".join(parser.format_help().split())
    for name, text in help_texts().items():
        assert f" {name} {text}" in words
