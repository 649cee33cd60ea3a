"""Turn `name=value` settings into arguments of the pipeline."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from components.errors import InputError
from components.train.config import TrainConfig
from pipelines.pipeline import brain_tumor


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


TRUTH = {"true": True, "false": False}
PARSERS: dict[str, Callable[[str], Any]] = {
    "String": str,
    "Integer": int,
    "Float": _finite,
    "Boolean": lambda text: TRUTH[text.lower()],
}


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
        kind = declared[name].type
        try:
            arguments[name] = PARSERS[kind](text)
        except (KeyError, ValueError) as error:
            raise InputError(f"{name} is {text!r}, wanted {kind.lower()}") from error
    TrainConfig(**{field.name: arguments[field.name] for field in fields(TrainConfig) if field.name in arguments})
    return arguments
