"""Compare the fields of an object that were applied with those that the API server returned."""

from collections.abc import Iterator
from typing import Any


def differences(wanted: Any, got: Any, path: str = "") -> Iterator[str]:
    """Yield each wanted field that has another value, as `path: got X, expected Y`. Fields that are not wanted may have any.

    Args:
        wanted: Fields as they were applied.
        got: The whole object. Its `env` may have other variables, other lists have exactly the wanted items.
        path: Where both are, such as `.spec.canary`.
    """
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key, value in wanted.items():
            yield from differences(value, got.get(key), f"{path}.{key}")
    elif path.endswith(".env"):
        variables = {each["name"]: each for each in got or []}
        for each in wanted:
            yield from differences(each, variables.get(each["name"]), f"{path}[{each['name']}]")
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif wanted != got and (wanted or got):  # KServe may leave an empty field out
        yield f"{path}: got {got}, expected {wanted}"
