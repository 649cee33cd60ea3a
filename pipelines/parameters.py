"""The pipeline's parameters on a command line: `--source URI --set NAME=VALUE ...`."""

import argparse
import json
import textwrap
from collections.abc import Mapping
from typing import Any

from brain_tumor.errors import InputError
from components.architectures import FIELDS, help_texts, read_config
from components.values import parse_value, printable, unknown_name

TYPES = {"String": str, "Integer": int, "Float": float, "Boolean": bool, "Dict": dict, "List": list}
HYPERPARAMETERS = "hyperparameters"
PLACEHOLDER = "{{$"


def add_parameter_options(parser: argparse.ArgumentParser, *, source_help: str) -> None:
    """Add `--source` and `--set`, the input of `parse_parameters`, and list the hyper-parameters in the help.

    The parser needs RawDescriptionHelpFormatter, which keeps the lines of the list.
    """
    parser.add_argument("--source", type=printable, default="synthetic://", help=f"{source_help}; default: %(default)s")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the pipeline or a hyper-parameter; may be repeated",
    )
    lines = [textwrap.fill(f"  {name:<23} {text}", 100, subsequent_indent=" " * 26) for name, text in help_texts().items()]
    parser.add_argument_group("hyper-parameters, for --set", "\n".join(lines).replace("%", "%%"))


def parse_parameters(settings: list[str]) -> dict[str, Any]:
    """Return the pipeline's arguments from `NAME=VALUE` settings, in the declared types.

    Hyper-parameters, each by its own name or as `hyperparameters={...}`, become the one argument `hyperparameters`.

    Raises:
        InputError: An unknown name, a value of a wrong type or out of its bounds, or a hyper-parameter with two values.
    """
    from pipelines.pipeline import brain_tumor  # slow: it imports kfp

    declared = brain_tumor.component_spec.inputs
    arguments: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set: got {setting}, expected NAME=VALUE")
        if name == HYPERPARAMETERS:
            _merge(overrides, parse_value(name, text, dict))
        elif name in declared:
            arguments[name] = parse_value(name, text, TYPES[declared[name].type])
        elif name in FIELDS:
            _merge(overrides, {name: parse_value(name, text, FIELDS[name].annotation)})
        else:
            raise unknown_name("--set", name, declared.keys() | FIELDS.keys())
    read_config(overrides, seed=arguments.get("seed", FIELDS["seed"].default))
    return arguments | ({HYPERPARAMETERS: overrides} if overrides else {})


def reject_placeholders(arguments: Mapping[str, Any]) -> None:
    """Reject a value that Kubeflow Pipelines would take for a placeholder and replace.

    Raises:
        InputError: A value has `{{$` in it.
    """
    for name, value in arguments.items():
        if PLACEHOLDER in (value if isinstance(value, str) else json.dumps(value)):
            raise InputError(f"{name}: got {PLACEHOLDER}, where Kubeflow Pipelines inserts a value; expected a value without it")


def _merge(overrides: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if name in overrides and overrides[name] != value:
            raise InputError(f"--set: got two values of {name}, {overrides[name]!r} and {value!r}, expected one")
        overrides[name] = value
