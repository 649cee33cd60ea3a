"""The architectures by name: for each the class of its hyper-parameters and its module, which builds, trains and explains it."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from brain_tumor.errors import InputError
from components.architectures.cnn import CnnConfig
from components.architectures.evidence import EvidenceConfig
from components.hyperparameters import TrainConfig
from components.values import as_input_error, unknown_name

CONFIGS: dict[str, type[TrainConfig]] = {"evidence": EvidenceConfig, "cnn": CnnConfig}
DEFAULT = "evidence"
# Every hyper-parameter of any architecture, by name; those that several have are of one type.
FIELDS: dict[str, FieldInfo] = {name: field for config in CONFIGS.values() for name, field in config.model_fields.items()} | {
    "architecture": FieldInfo(
        annotation=str,
        default=DEFAULT,
        description=f"Architecture of the network: {' or '.join(f'`{name}`' for name in CONFIGS)}.",
    )
}


def architecture_module(config: TrainConfig) -> ModuleType:
    """Return the module of an architecture, with `train(shards, config, ...) -> components.trained.Trained`."""
    return importlib.import_module(f"components.architectures.{config.architecture}")


def read_config(overrides: Mapping[str, Any], **values: Any) -> TrainConfig:
    """Return the defaults of an architecture, by default `DEFAULT`, with some values replaced.

    Args:
        overrides: The pipeline parameter `hyperparameters`: values by name, without `seed`.
        values: Further values by name, `seed` among them.

    Raises:
        InputError: An unknown name, a name that another architecture has, or a value of a wrong type or out of its bounds.
    """
    if "seed" in overrides:
        raise InputError("hyperparameters: got seed, which is a parameter of its own: set seed instead")
    given = {"architecture": DEFAULT} | dict(overrides) | values
    architecture = given["architecture"]
    if architecture not in CONFIGS:
        raise InputError(f"architecture: got {architecture!r}, expected {' or '.join(CONFIGS)}")
    config = CONFIGS[architecture]
    for name in overrides:
        if name not in FIELDS:
            raise unknown_name("hyperparameters", name, config.model_fields.keys() - {"seed"})
    if foreign := sorted(given.keys() - config.model_fields):
        owners = [name for name, other in CONFIGS.items() if foreign[0] in other.model_fields]
        raise InputError(
            f"hyperparameters: got {foreign[0]}, which belongs to architecture={owners[0]}, with architecture={architecture}"
        )
    try:
        return config(**given)
    except ValidationError as error:
        raise as_input_error(error) from error


def help_texts() -> dict[str, str]:
    """Return meaning and default of each hyper-parameter, one line each, with the architecture that has it if not all have."""
    return {name: f"{_owner(name)}{field.description} default: {_default(name)}" for name, field in FIELDS.items()}


def _owner(name: str) -> str:
    owners = [architecture for architecture, config in CONFIGS.items() if name in config.model_fields]
    return "" if len(owners) == len(CONFIGS) else f"`{owners[0]}`: "


def _default(name: str) -> str:
    """Return a hyper-parameter's default; those of both architectures if they differ."""
    if name == "architecture":
        return DEFAULT
    fields = {architecture: config.model_fields.get(name) for architecture, config in CONFIGS.items()}
    defaults = {architecture: str(field.default).lower() for architecture, field in fields.items() if field}
    if len(set(defaults.values())) == 1:
        return next(iter(defaults.values()))
    return ", ".join(f"{value} ({architecture})" for architecture, value in defaults.items())
