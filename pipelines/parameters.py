"""The pipeline's parameters on a command line: `--source ADDRESS --set NAME=VALUE ...`."""

import argparse
from dataclasses import fields
from typing import Any

from brain_tumor.errors import InputError
from components.hyperparameters import TrainConfig
from components.values import parse_value
from pipelines.pipeline import brain_tumor

TYPES = {"String": str, "Integer": int, "Float": float, "Boolean": bool, "Dict": dict, "List": list}


def add_parameter_options(parser: argparse.ArgumentParser, *, source_help: str) -> None:
    """Add `--source` and `--set`, whose values `parse_parameters` takes."""
    parser.add_argument("--source", default="synthetic://", help=f"{source_help}; default: %(default)s")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the pipeline; may be repeated"
    )


def parse_parameters(settings: list[str]) -> dict[str, Any]:
    """Turn `name=value` settings into arguments of the type that the pipeline declares.

    Raises:
        InputError: no such parameter, a value of another type, or a hyper-parameter out of its range.
    """
    declared = brain_tumor.component_spec.inputs
    arguments: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting} has no value, wanted NAME=VALUE")
        if name not in declared:
            raise InputError(f"no such parameter: {name}, wanted one of {', '.join(sorted(declared))}")
        arguments[name] = parse_value(name, text, TYPES[declared[name].type])
    TrainConfig(**{field.name: arguments[field.name] for field in fields(TrainConfig) if field.name in arguments})
    return arguments
