"""Check a custom resource as an API server does against its CRD, without one."""

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

# A folder of openAPIV3Schema files, `<kind>-<first word of the group>-<version>.json`, such as httproute-gateway-v1.json.
FOLDER = Path(os.environ.get("CRDS", Path(__file__).parents[2] / "shared" / "crds"))


def crd_errors(resource: dict[str, Any]) -> list[str]:
    """Return what the resource's CRD refuses, each as `path: message`; rules in CEL and of webhooks are not looked at.

    A field that the schema does not know is an error, as under server-side apply.

    Raises:
        FileNotFoundError: the folder has no schema of this kind and version.
    """
    group, version = resource["apiVersion"].split("/")
    validator = _validator(f"{resource['kind'].lower()}-{group.split('.')[0]}-{version}.json")
    errors = sorted(validator.iter_errors(resource), key=lambda error: error.json_path)
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]


def require_crds() -> None:
    """Skip the test where the schemas are not there; in CI they must be."""
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
    """Translate a structural schema into JSON Schema in which an unknown field is an error."""
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
        # The API server fills defaults in before it validates.
        closed["required"] = [name for name in schema.get("required", []) if "default" not in properties.get(name, {})]
    return closed


def _python_pattern(pattern: str) -> str:
    """Move a flag such as `(?i)` to the front, where Python wants it; Go takes it anywhere."""
    flags = re.findall(r"\(\?[a-z]+\)", pattern)
    return "".join(flags) + re.sub(r"\(\?[a-z]+\)", "", pattern)


def _unique(validator: Any, keys: list[str], items: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
    """Refuse two items of a list that have the same keys: server-side apply cannot tell them apart."""
    defaults = {key: schema["items"]["properties"].get(key, {}).get("default") for key in keys}
    seen = set()
    for item in items if isinstance(items, list) else []:
        identity = tuple(str(item.get(key, defaults[key])) for key in keys)
        if identity in seen:
            yield ValidationError(f"two items have {dict(zip(keys, identity, strict=True))}")
        seen.add(identity)
