"""Validate a custom resource against its CRD as an API server does, without one."""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

# A folder of openAPIV3Schema files `<kind>-<first word of the group>-<version>.json`, such as httproute-gateway-v1.json.
FOLDER = Path(os.environ.get("CRDS", Path(__file__).parents[2] / "shared" / "crds"))


def crd_errors(resource: dict[str, Any]) -> list[str]:
    """Return the resource's violations of its CRD, each as `path: message`. CEL and webhook rules are not checked.

    An unknown field is an error, as in server-side apply.

    Raises:
        FileNotFoundError: The folder has no schema for this kind and version.
    """
    group, version = resource["apiVersion"].split("/")
    validator = _validator(f"{resource['kind'].lower()}-{group.split('.')[0]}-{version}.json")
    errors = sorted(validator.iter_errors(resource), key=lambda error: error.json_path)
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]


def require_crds() -> None:
    """Skip the test if the schemas are missing, or fail it in CI."""
    if not FOLDER.is_dir():
        message = f"no CRD schemas at {FOLDER}: set CRDS"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@cache
def _validator(name: str) -> Any:
    schema = json.loads((FOLDER / name).read_text())
    metadata = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema["properties"] = {"apiVersion": {}, "kind": {}} | schema.get("properties", {}) | {"metadata": metadata}
    return extend(Draft202012Validator, {"x-kubernetes-list-map-keys": _unique})(_close(schema))


def _close(schema: dict[str, Any]) -> dict[str, Any]:
    """Convert a structural schema to a JSON Schema in which an unknown field is an error."""
    closed = dict(schema)
    if schema.get("x-kubernetes-int-or-string"):
        closed["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in closed:
        closed["type"] = [closed["type"], "null"]
    if "pattern" in schema:
        closed["pattern"] = _python_pattern(schema["pattern"])
    if "items" in schema:
        closed["items"] = _close(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        closed["additionalProperties"] = _close(schema["additionalProperties"])
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        closed["properties"] = {name: _close(each) for name, each in properties.items()}
        closed.setdefault("additionalProperties", bool(schema.get("x-kubernetes-preserve-unknown-fields")))
        # The API server applies defaults before validation.
        closed["required"] = [name for name in schema.get("required", []) if "default" not in properties.get(name, {})]
    return closed


def _python_pattern(pattern: str) -> str:
    """Move a flag such as `(?i)` to the front, as Python requires; Go accepts it anywhere."""
    flags = re.findall(r"\(\?[a-z]+\)", pattern)
    return "".join(flags) + re.sub(r"\(\?[a-z]+\)", "", pattern)


def _unique(validator: Any, keys: list[str], items: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
    """Reject two list items with the same keys: server-side apply cannot distinguish them."""
    defaults = {key: schema["items"]["properties"].get(key, {}).get("default") for key in keys}
    seen = set()
    for item in items if isinstance(items, list) else []:
        identity = tuple(str(item.get(key, defaults[key])) for key in keys)
        if identity in seen:
            yield ValidationError(f"two items have {dict(zip(keys, identity, strict=True))}")
        seen.add(identity)
