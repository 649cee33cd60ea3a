"""The PromQL of the chart: expressions of dashboards and rules, and their metrics, labels and values."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

CHART = ROOT / "helm" / "brain-tumor-ui"
RULES = CHART / "rules" / "brain-tumor.yaml"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
UNIT_TESTS = sorted(Path(__file__).parent.glob("*.yaml"))
VARIABLES = {"$namespace": ".*", "$__rate_interval": "5m"}

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\d[\w.]*|[a-zA-Z_:][\w:]*|=~|!~|!=|\S')
NAME = re.compile(r"[a-zA-Z_:][\w:]*")
LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = LABEL_LISTS | {"and", "or", "unless", "bool", "offset"}


@dataclass
class Expression:
    """The names in an expression.

    Attributes:
        metrics: metric -> label -> values that it is compared with, each alternative of a regular expression.
        grouping: labels of `by`, `on` and similar clauses.
    """

    metrics: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    grouping: set[str] = field(default_factory=set)


def parse(text: str) -> Expression:
    """Parse an expression. Every selector must name its metric before the braces."""
    tokens = [*TOKEN.findall(text), ""]
    found = Expression()
    position = 0
    while position < len(tokens) - 1:
        token, following = tokens[position], tokens[position + 1]
        position += 1
        if token in LABEL_LISTS and following == "(":
            end = tokens.index(")", position)
            found.grouping |= {name for name in tokens[position:end] if NAME.fullmatch(name)}
            position = end + 1
        elif token == "{":
            raise ValueError(f"a selector without a metric's name: {text}")
        elif NAME.fullmatch(token) and token not in WORDS and following not in {"(", "by", "without"}:
            labels = found.metrics.setdefault(token, {})
            if following == "{":
                end = tokens.index("}", position)
                for name, _, value in _matchers(tokens[position + 1 : end]):
                    labels.setdefault(name, set()).update(value.split("|"))
                position = end + 1
    return found


def _matchers(tokens: list[str]) -> Iterator[tuple[str, str, str]]:
    parts = [token for token in tokens if token != ","]
    for name, operator, value in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        yield name, operator, json.loads(value)


def dashboard(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def panels(path: Path) -> list[dict[str, Any]]:
    """Return a dashboard's panels without its rows."""
    return [panel for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def dashboard_queries() -> dict[str, str]:
    """Return `dashboard: panel: letter` -> expression, with the variables substituted."""
    return {
        f"{path.stem}: {panel['title']} {target['refId']}": fill_in(target["expr"])
        for path in DASHBOARDS
        for panel in panels(path)
        for target in panel.get("targets", [])
    }


def fill_in(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def rule_name(rule: dict[str, Any]) -> str:
    return rule.get("alert") or rule["record"]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def unit_tests() -> list[dict[str, Any]]:
    """Return the tests of all promtool files."""
    return [test for path in UNIT_TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
