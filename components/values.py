"""Read a value of a known type from text, as a command line or a manifest gives it."""

import json
import math
from collections.abc import Callable
from typing import Any

from brain_tumor.errors import InputError

TRUTH = {"true": True, "false": False}


def parse_value(name: str, text: str, kind: type) -> Any:
    """Return the value that `text` stands for.

    Args:
        name: whose value it is, for the error.
        text: as it was given; dict and list are JSON.
        kind: str, int, float, bool, dict or list.

    Raises:
        InputError: the text stands for no value of this type, or for an infinite number.
    """
    parse, wanted = _PARSERS[kind]
    try:
        return parse(text)
    except (KeyError, ValueError) as error:
        raise InputError(f"{name} is {text!r}, wanted {wanted}") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _json_of(kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return parse


_PARSERS: dict[type, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    int: (int, "integer"),
    float: (_finite, "float"),
    bool: (lambda text: TRUTH[text.lower()], "boolean"),
    dict: (_json_of(dict), "a JSON object"),
    list: (_json_of(list), "a JSON list"),
}
