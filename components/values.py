"""Validate user input. An error names the value, the input and the expected values."""

import argparse
import difflib
import re
from collections.abc import Collection
from typing import Any

from pydantic import ConfigDict, Json, TypeAdapter, ValidationError

from brain_tumor.errors import InputError
from brain_tumor.settings import expected_value

# What no line of a log and no parameter of Kubeflow Pipelines can hold: control characters, line ends, bytes that are not UTF-8.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
PRINTABLE = "UTF-8 without control characters"
JSON_TYPES = {bool: "true or false", dict: "a JSON object", list: "a JSON list"}


def parse_value(name: str, text: str, kind: Any) -> Any:
    """Return the value of a type that a text of a command line stands for.

    Args:
        name: The value's name, for the error.
        text: The text; a dict or list is JSON, a bool `true` or `false` in any case.
        kind: The type: str, int, float, bool, dict, list or a Literal of strings.

    Raises:
        InputError: The text is no value of this type, an infinite number, or a str with control characters.
    """
    if kind is str and UNPRINTABLE.search(text):
        raise InputError(f"{name}: got {text!a}, expected {PRINTABLE}")
    try:
        if kind in JSON_TYPES:
            adapter = TypeAdapter(Json[kind], config=ConfigDict(strict=True))
            return adapter.validate_python(text.lower() if kind is bool else text)
        return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False)).validate_strings(text)
    except ValidationError as error:
        if kind in JSON_TYPES:
            raise InputError(f"{name}: got {text!r}, expected {JSON_TYPES[kind]}") from error
        raise as_input_error(error, name) from error


def printable(text: str) -> str:
    """Return a path or URI of a command line, as the `type` of an argument of argparse.

    Raises:
        argparse.ArgumentTypeError: It has control characters, or bytes that are not UTF-8.
    """
    if UNPRINTABLE.search(text):
        raise argparse.ArgumentTypeError(f"got {text!a}, expected {PRINTABLE}")
    return text


def as_input_error(error: ValidationError, name: str = "") -> InputError:
    """Return pydantic's error in one line: `epochs: got 0, expected greater than or equal to 1; zoom: got ...`."""
    expected: dict[tuple[str, str], list[str]] = {}
    for each in error.errors():  # several for one value that may be of several types
        expected.setdefault((name or str(each["loc"][0]), repr(each["input"])), []).append(expected_value(each))
    return InputError(
        "; ".join(f"{which}: got {value}, expected {' or '.join(each)}" for (which, value), each in expected.items())
    )


def unknown_name(where: str, name: str, known: Collection[str]) -> InputError:
    """Return the error for a name that is not among the known ones; it suggests the most similar one."""
    similar = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {similar[0]}?)" if similar else ""
    return InputError(f"{where}: got unknown name {name!r}{hint}, expected one of {', '.join(sorted(known))}")
