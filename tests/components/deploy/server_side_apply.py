"""A simulation of server-side apply: field managers, conflicts, and removal of fields that no manager applies any more.

A field is a path. An item of a list with map keys is identified by its keys; any other list is one value.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

Path = tuple[Any, ...]


class Conflict(Exception):
    """Another field manager owns fields that the applied document changes.

    Attributes:
        owners: Path -> field manager.
    """

    def __init__(self, owners: dict[Path, str]):
        super().__init__(str(owners))
        self.owners = owners


class Applied:
    """One object, and the fields that each manager applied."""

    def __init__(self, schema: dict[str, Any]):
        self.schema = schema
        self.document: dict[str, Any] = {}
        self.managers: dict[str, set[Path]] = {}

    def apply(self, document: dict[str, Any], manager: str, *, force: bool) -> None:
        """Merge a document.

        Raises:
            Conflict: Without force, another manager owns a field whose value differs.
        """
        fields = dict(_fields(document, self.schema))
        owners = {
            path: other
            for path, value in fields.items()
            for other, owned in self.managers.items()
            if other != manager and path in owned and _value(self.document, path) != value
        }
        if owners and not force:
            raise Conflict(owners)
        for path, other in owners.items():
            self.managers[other].discard(path)
        dropped = self.managers.get(manager, set()) - set(fields)
        self.managers[manager] = set(fields)
        kept = set().union(*self.managers.values())
        merged = copy.deepcopy(self.document)
        for path in dropped - kept:
            _remove(merged, path)
        for path, value in fields.items():
            _set(merged, path, value)
        self.document = merged

    def update(self, document: dict[str, Any], manager: str) -> None:
        """Merge a document as a client that updates does: it takes over what it changes, and owns nothing else."""
        changed = {path: value for path, value in _fields(document, self.schema) if _value(self.document, path) != value}
        for owned in self.managers.values():
            owned -= set(changed)
        self.managers[manager] = self.managers.get(manager, set()) | set(changed)
        self.document = copy.deepcopy(self.document)
        for path, value in changed.items():
            _set(self.document, path, value)


def dotted(path: Path) -> str:
    """Return a path in the notation of the API server."""
    return "".join(f".{part}" if isinstance(part, str) else f"[{_keys(part)}]" for part in path)


def _keys(item: tuple[tuple[str, Any], ...]) -> str:
    return ",".join(f"{key}={json.dumps(value)}" for key, value in item)


def _fields(value: Any, schema: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    keys = schema.get("x-kubernetes-list-map-keys")
    if isinstance(value, dict) and value:
        for key, child in value.items():
            inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties") or {}
            yield from _fields(child, inner if isinstance(inner, dict) else {}, (*path, key))
    elif isinstance(value, list) and keys:
        for item in value:
            defaults = {key: schema["items"]["properties"][key].get("default") for key in keys}
            identity = tuple((key, item.get(key, defaults[key])) for key in keys)
            yield from _fields(item, schema["items"], (*path, identity))
    else:
        yield path, value


def _step(value: Any, part: Any) -> Any:
    if isinstance(part, tuple):
        return next((item for item in value or [] if all(item.get(key, default) == default for key, default in part)), None)
    return (value or {}).get(part)


def _value(document: Any, path: Path) -> Any:
    for part in path:
        document = _step(document, part)
    return document


def _set(document: dict[str, Any], path: Path, value: Any) -> None:
    here: Any = document
    for part, following in zip(path, [*path[1:], None], strict=True):
        if following is None:
            here[part] = copy.deepcopy(value)
            return
        child = _step(here, part)
        if child is None:
            child = [] if isinstance(following, tuple) else {}
            if isinstance(part, tuple):
                here.append(child)
            else:
                here[part] = child
        here = child


def _remove(document: dict[str, Any], path: Path) -> None:
    """Remove a field, and the parents that become empty."""
    parents = [document]
    for part in path[:-1]:
        parents.append(_step(parents[-1], part))
    for parent, part in zip(reversed(parents), reversed(path), strict=True):
        child = _step(parent, part)
        if parent is None or (part != path[-1] and child):
            return
        if isinstance(part, tuple):
            parent.remove(child)
        else:
            parent.pop(part, None)
