"""Permissions, network policies, and that no manifest contains a secret."""

import re
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.conftest import ROOT
from tests.helm.charts import render
from tests.manifests.render import MANIFESTS, OVERLAYS, Document, overlay, pod_labels, predictor_pod, the

SECRET_NAMES = {"brain-tumor-store", "brain-tumor-mlflow", "brain-tumor-registry"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_pipeline_may_deploy_and_call_the_service_and_nothing_else(name: str) -> None:
    documents = overlay(name)
    role, binding = the("Role", documents), the("RoleBinding", documents)
    assert role["rules"] == [
        {
            "apiGroups": ["serving.kserve.io"],
            "resources": ["inferenceservices"],
            "verbs": ["get", "create", "patch"],
        },
        {"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get", "create"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {
            "apiGroups": ["gateway.networking.k8s.io"],
            "resources": ["httproutes"],
            "resourceNames": ["brain-tumor", "brain-tumor-predictor"],
            "verbs": ["get"],
        },
    ]
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    # The API server rejects an account without a namespace.
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "kubeflow"}]
    accounts = {each["metadata"]["name"]: each for each in documents if each["kind"] == "ServiceAccount"}
    assert set(accounts) == {"brain-tumor-serving"} | ({"brain-tumor-dicomweb"} if name == "dicomweb" else set())
    assert {each["automountServiceAccountToken"] for each in accounts.values()} == {False}


def test_manifests_reference_secrets_and_contain_none() -> None:
    named = set()
    for name in OVERLAYS:
        documents = overlay(name)
        assert [each for each in documents if each["kind"] == "Secret"] == []
        for account in (each for each in documents if each["kind"] == "ServiceAccount"):
            named |= {secret["name"] for key in ("secrets", "imagePullSecrets") for secret in account.get(key, [])}
    assert named <= SECRET_NAMES
    assert "brain-tumor-store" in named
    for path in MANIFESTS.rglob("*.yaml"):
        found = re.findall(r"(?i)(?:password|secret_access_key|token)['\"]?\s*[:=]\s*(\S+)", path.read_text())
        assert set(found) <= {"false"}, path


def test_network_policies_deny_all_but_the_named_traffic() -> None:
    for name in ("standard", "gpu"):
        policies = {each["metadata"]["name"]: each["spec"] for each in overlay(name) if each["kind"] == "NetworkPolicy"}
        assert policies.pop("default-deny") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        for policy in policies.values():
            assert policy["podSelector"]["matchLabels"].items() <= pod_labels().items()
            assert policy["podSelector"]["matchLabels"]
        assert opened_ports(policies.values(), "ingress") == {8080, 8081, 8090}
        assert opened_ports(policies.values(), "egress") == {53, 443}
        for policy in policies.values():
            assert all(rule["from"] for rule in policy.get("ingress", [])), "a rule without peers allows every source"


def test_models_as_container_images_need_no_store() -> None:
    documents = overlay("oci")
    account = the("ServiceAccount", documents)
    assert (account.get("secrets"), account["imagePullSecrets"]) == (None, [{"name": "brain-tumor-registry"}])
    policies = {each["metadata"]["name"]: each["spec"] for each in documents if each["kind"] == "NetworkPolicy"}
    assert opened_ports(policies.values(), "egress") == set()
    assert set(policies) == {"default-deny", "brain-tumor-requests", "brain-tumor-metrics"}


def test_only_prometheus_reaches_the_model_past_the_transformer() -> None:
    policies = [each["spec"] for each in overlay("standard") if each["kind"] == "NetworkPolicy"]
    rules = [rule for policy in policies for rule in policy.get("ingress", [])]
    (reaching,) = (rule for rule in rules if 8090 in {port["port"] for port in rule["ports"]})
    assert reaching["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert not any(8091 in {port["port"] for port in rule["ports"]} for rule in rules)


def test_web_page_and_its_helm_test_may_send_requests() -> None:
    (requests,) = (each["spec"] for each in overlay("standard") if each["metadata"]["name"] == "brain-tumor-requests")
    (rule,) = requests["ingress"]
    page = rule["from"][0]
    assert page["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "brain-tumor-ui"}}
    (expression,) = page["podSelector"]["matchExpressions"]
    chart = render()
    pods = (the("Deployment", chart)["spec"]["template"], the("Pod", chart))
    assert set(expression["values"]) == {pod["metadata"]["labels"][expression["key"]] for pod in pods}


def test_every_port_of_the_network_policies_is_a_port_of_the_pod() -> None:
    documents = overlay("standard")
    listening = {port["containerPort"] for container in predictor_pod(documents)["containers"] for port in container["ports"]}
    assert opened_ports([each["spec"] for each in documents if each["kind"] == "NetworkPolicy"], "ingress") <= listening


def test_network_policy_of_the_docs_opens_the_store_of_their_example() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    host, port = re.search(r"s3-endpoint=([\w.]+):(\d+)", text).groups()  # type: ignore[union-attr]
    (policy,) = (
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "brain-tumor-minio" in block
    )
    kubernetes_validate.validate(policy, kubernetes_validate.latest_version(), strict=True)
    (rule,) = policy["spec"]["egress"]
    assert rule["ports"] == [{"port": int(port)}]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": host.partition(".")[2]}}}]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod_labels().items()


def opened_ports(policies: Any, direction: str) -> set[int]:
    """Return the ports that policies allow in a direction."""
    rules: list[Document] = [rule for policy in policies for rule in policy.get(direction, [])]
    return {port["port"] for rule in rules for port in rule["ports"]}
