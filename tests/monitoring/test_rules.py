"""The rules: promtool runs the unit tests of this folder, and every rule has one."""

import http
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from serving.errors import CODES
from serving.inference import WARNINGS
from tests.conftest import ROOT
from tests.monitoring.promql import (
    DASHBOARDS,
    RULES,
    UNIT_TESTS,
    alerts,
    dashboard_queries,
    panels,
    parse,
    rule_name,
    rules,
    unit_tests,
)
from tests.tools import tool

RUNBOOK = ROOT / "docs" / "runbook.md"
RUNBOOK_URL = "https://github.com/brain-tumor/brain-tumor/blob/main/docs/runbook.md"
CLIENT_ERRORS = {"not_an_image", "corrupt", "several_images", "invisible", "unsupported_type", "too_large", "wrong_shape"}
CLIENT_ERRORS |= {"bad_request", "several_series", "too_many_slices"}


def promtool(*arguments: str | Path) -> str:
    ended = subprocess.run([tool("promtool"), *map(str, arguments)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def headings() -> dict[str, str]:
    """Return anchor -> text of the runbook's second-level headings."""
    sections = re.split(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {title.lower().replace(" ", "-"): text for title, text in zip(sections[::2], sections[1::2], strict=True)}


def test_prometheus_accepts_the_rules() -> None:
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", RULES)


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_unit_tests_of_the_rules_pass(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    states = {(case["alertname"], bool(case["exp_alerts"])) for test in unit_tests() for case in test.get("alert_rule_test", [])}
    assert states == {(alert["alert"], firing) for alert in alerts() for firing in (True, False)}


def test_value_of_every_recording_rule_is_tested() -> None:
    cases = [case for test in unit_tests() for case in test.get("promql_expr_test", []) if case["exp_samples"]]
    tested = {metric for case in cases for metric in parse(case["expr"]).metrics}
    assert {rule["record"] for rule in rules() if "record" in rule} <= tested


def test_every_recording_rule_is_used() -> None:
    expressions = [rule["expr"] for rule in rules()] + list(dashboard_queries().values())
    used = {metric for expression in expressions for metric in parse(expression).metrics}
    assert {rule["record"] for rule in rules() if "record" in rule} <= used


@pytest.mark.parametrize("alert", alerts(), ids=rule_name)
def test_alert_has_a_severity_a_summary_and_a_runbook_section(alert: dict[str, Any]) -> None:
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(alert["annotations"]) == {"summary", "runbook_url"}
    url, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert (url, anchor) == (RUNBOOK_URL, alert["alert"].lower())
    section = headings()[anchor]
    assert f"**{alert['labels']['severity'].capitalize()}.**" in section
    for part in ("**Users notice:**", "**Look:**", "**Do:**"):
        assert part in section


def test_runbook_has_no_section_for_a_removed_alert() -> None:
    assert {anchor for anchor in headings() if anchor.startswith("braintumor")} == {alert["alert"].lower() for alert in alerts()}


def test_runbook_names_existing_panels() -> None:
    titles = {panel["title"] for path in DASHBOARDS for panel in panels(path)}
    named = {" ".join(title.split()) for title in re.findall(r'"([^"]+\?)"', RUNBOOK.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert named <= titles


def test_failures_are_5xx_and_the_services_grpc_equivalents() -> None:
    in_grpc = {rpc.name for status, rpc in CODES.values() if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR}
    compared = [
        parse(rule["expr"]).metrics["brain_tumor_requests_total"]["code"]
        for rule in rules()
        if rule_name(rule).startswith("namespace:brain_tumor_errors")
    ]
    assert len(compared) == 7
    assert all(codes == {"5..", "404", "405", *in_grpc} for codes in compared)


def test_reasons_are_error_codes_of_the_service() -> None:
    expressions = [rule["expr"] for rule in rules()] + list(dashboard_queries().values())
    named = [
        labels["reason"]
        for expression in expressions
        for metric, labels in parse(expression).metrics.items()
        if "rejected" in metric and "reason" in labels
    ]
    assert set().union(*named) <= set(CODES)
    refused = next(alert for alert in alerts() if alert["alert"] == "BrainTumorPicturesRefused")
    assert parse(refused["expr"]).metrics["brain_tumor_rejected_total"]["reason"] == CLIENT_ERRORS


def test_warnings_are_codes_of_the_service() -> None:
    expressions = [rule["expr"] for rule in rules()] + list(dashboard_queries().values())
    named = [
        labels.get("reason", set())
        for expression in expressions
        for metric, labels in parse(expression).metrics.items()
        if "brain_tumor_warnings" in metric
    ]
    assert set().union(*named) == {"uncertain", "unlike_training"} <= set(WARNINGS)


@pytest.mark.parametrize(("kind", "budget"), [("Errors", 1 - 0.995), ("Latency", 1 - 0.95)])
def test_burn_rates_match_the_objective(kind: str, budget: float) -> None:
    """Chapter 5 of the Site Reliability Workbook: rate, long window, short window."""
    for speed, expected in (("Fast", [(14.4, "1h", "5m"), (6, "6h", "30m")]), ("Slow", [(3, "1d", "2h"), (1, "3d", "6h")])):
        (alert,) = [alert for alert in alerts() if alert["alert"] == f"BrainTumor{kind}{speed}Burn"]
        assert re.findall(r"\b(?:and|or)\b", alert["expr"]) == ["and", "or", "and", "and"]
        found = re.findall(r"ratio_rate(\w+) > (?:([\d.]+) \* )?([\d.]+)", alert["expr"])
        pairs = list(zip(found[::2], found[1::2], strict=True))
        assert [(float(long[1] or 1), long[0], short[0]) for long, short in pairs] == expected
        assert [float(each[2]) for each in found] == pytest.approx([budget] * 4)
