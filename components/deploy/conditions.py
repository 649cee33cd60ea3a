"""The conditions in an object's status: which of them say why it is not ready."""

from collections.abc import Iterable
from typing import Any


def failures(conditions: Iterable[dict[str, Any]]) -> list[str]:
    """Return the conditions that are reasons not to be ready, each as `type: reason: message`."""
    return [
        ": ".join(filter(None, [each["type"], each.get("reason"), each.get("message")]))
        for each in conditions
        if _is_failure(each)
    ]


def _is_failure(condition: dict[str, Any]) -> bool:
    """Return whether a condition is a reason not to be ready: one that is not true, but `Stopped` if it is."""
    is_stopped = condition["type"] == "Stopped"
    return (condition.get("status") == "True") is is_stopped and condition.get("severity") != "Info"
