"""The offline validation of custom resources rejects what an API server rejects."""

from typing import Any

import pytest

from tests.crds import crd_errors, require_crds


@pytest.fixture(autouse=True)
def _crds() -> None:
    require_crds()


def rule(**of_group: Any) -> dict[str, Any]:
    """Return a PrometheusRule with one group."""
    group = {"name": "errors", "rules": [{"record": "up:sum", "expr": "sum(up)"}]} | of_group
    identity = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "r"}}
    return identity | {"spec": {"groups": [group]}}


def test_valid_resource_has_no_errors() -> None:
    assert crd_errors(rule()) == []
    assert crd_errors(rule(rules=[{"record": "one", "expr": 1}], partial_response_strategy="WARN")) == []


@pytest.mark.parametrize(
    ("of_group", "error"),
    [
        ({"evry": "30s"}, "spec.groups[0]: Additional properties are not allowed ('evry' was unexpected)"),
        ({"limit": "3"}, "spec.groups[0].limit: '3' is not of type 'integer'"),
        ({"rules": [{"record": "up:sum"}]}, "spec.groups[0].rules[0]: 'expr' is a required property"),
        ({"rules": [{"expr": True}]}, "spec.groups[0].rules[0].expr: True is not of type 'integer', 'string'"),
        (
            {"partial_response_strategy": "no"},
            "spec.groups[0].partial_response_strategy: 'no' does not match '(?i)^(abort|warn)?$'",
        ),
    ],
)
def test_error_names_the_path(of_group: dict[str, Any], error: str) -> None:
    assert error in crd_errors(rule(**of_group))


def test_two_groups_of_the_same_name_are_rejected() -> None:
    twice = rule()
    twice["spec"]["groups"] *= 2
    assert crd_errors(twice) == ["spec.groups: two items have {'name': 'errors'}"]


def test_required_field_with_a_default_may_be_missing() -> None:
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}}
    spec = {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [{"name": "page", "port": 80}]}]}
    assert crd_errors(route | {"spec": spec}) == []


def test_schema_that_preserves_unknown_fields_accepts_any_field() -> None:
    assert crd_errors({"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "spec": {"anything": [1]}}) == []


def test_missing_schema_of_a_kind_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"gadget-example-v1\.json"):
        crd_errors({"apiVersion": "example.com/v1", "kind": "Gadget"})
