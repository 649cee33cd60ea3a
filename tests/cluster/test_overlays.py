"""The overlays and the chart on a real API server: kubectl's own server-side apply, permissions, Pod Security and quotas."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.deploy.deploy import deploy, promote, roll_back
from components.deploy.inferenceservice import MODES, new_service
from components.deploy.kubernetes_api import FIELD_MANAGER, TEMPLATE_MANAGER, InferenceServiceClient
from components.deploy.rollout import Rollout
from components.deploy.waiting import RolloutError
from tests.cluster.control_plane import CRDS, CUSTOM, ControlPlane, kubeconfig_of
from tests.cluster.real_server import ACCOUNT, APPS, CORE, RealServer, grant, is_allowed, require_simulated_controller
from tests.components.deploy.api_server import NAMESPACE, role
from tests.components.deploy.test_observed_state import make_early_service
from tests.helm.charts import CI_VALUES, render
from tests.manifests.render import MANIFESTS, OVERLAYS, Document, overlay, pod_labels, predictor_pod, the
from tests.tools import tool

pytestmark = pytest.mark.cluster
V1, V2 = "s3://models/brain-tumor/1", "s3://models/brain-tumor/2"
SERVICE = "/apis/serving.kserve.io/v1beta1/namespaces/brain-tumor/inferenceservices/brain-tumor"


@pytest.fixture
def server(plane: ControlPlane, backends: dict[str, str]) -> Iterator[RealServer]:
    require_simulated_controller(plane)
    with RealServer(plane, dict(backends)).running() as real:
        yield real


def kubectl(plane: ControlPlane, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [tool("kubectl"), "--kubeconfig", str(plane.kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, input=text, timeout=120)


def apply(plane: ControlPlane, document: Document) -> subprocess.CompletedProcess[str]:
    """Apply an object to the test's namespace as `kubectl apply --server-side -k` does."""
    metadata = document["metadata"] | {"namespace": NAMESPACE}
    return kubectl(
        plane, "apply", "--server-side", "--validate=strict", "-f", "-", text=json.dumps(document | {"metadata": metadata})
    )


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlay_is_applied_strictly_again_and_again(plane: ControlPlane, name: str) -> None:
    folder = str(MANIFESTS / "overlays" / name)
    plane.delete(SERVICE)
    for _ in range(2):
        done = kubectl(plane, "apply", "--server-side", "--validate=strict", "--kustomize", folder)
        assert done.returncode == 0, done.stderr
        assert "would violate PodSecurity" not in done.stderr  # a warning about a Deployment
        assert "serverside-applied" in done.stdout
    plane.delete(SERVICE)


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("first", ["kubectl", "deploy", "early version"])
def test_kubectl_and_deploy_step_never_conflict_and_never_change_the_served_version(
    server: RealServer, client: InferenceServiceClient, plane: ControlPlane, name: str, first: str
) -> None:
    document = the("InferenceService", overlay(name))
    mode = document["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
    if first == "kubectl":
        assert apply(plane, document).returncode == 0
    elif first == "early version":
        make_early_service(server, mode)
    assert deploy(client, V1, canary_percent=10, mode=mode) == Rollout(V1)
    for command, served in (
        (lambda: deploy(client, V1, canary_percent=10, mode=mode), Rollout(V1)),
        (lambda: deploy(client, V2, canary_percent=20, mode=mode), Rollout(V1, V2, 20)),
        (lambda: promote(client), Rollout(V2, previous=V1)),
        (lambda: roll_back(client), Rollout(V1)),
    ):
        assert command() == served
        done = apply(plane, document)
        assert (done.returncode, done.stderr) == (0, "")
        current = client.get()
        assert current is not None
        assert current.read_rollout() == served
    assert server.service()["spec"]["predictor"]["minReplicas"] == document["spec"]["predictor"]["minReplicas"]
    assert set(server.owners()) == {"kubectl", FIELD_MANAGER}


def test_overlay_on_an_early_service_changes_nothing_until_the_deploy_step_ran(
    server: RealServer, client: InferenceServiceClient, plane: ControlPlane
) -> None:
    make_early_service(server, "Standard")
    before = server.service()["spec"]
    done = apply(plane, the("InferenceService", overlay("standard")))
    assert done.returncode == 1
    assert f'conflicts with "{TEMPLATE_MANAGER}"' in done.stderr
    assert server.service()["spec"] == before
    assert deploy(client, V1, canary_percent=10) == Rollout(V1)
    assert apply(plane, the("InferenceService", overlay("standard"))).returncode == 0


def test_service_whose_overlay_names_the_model_keeps_it(server: RealServer, plane: ControlPlane) -> None:
    """Who wants the URI in Kustomize patches it in, and does not use the deploy step."""
    document = the("InferenceService", overlay("standard"))
    document["spec"]["predictor"]["model"] |= {"storageUri": V1, "env": [{"name": "MODEL_VERSION", "value": "1"}]}
    for _ in range(2):
        assert apply(plane, document).returncode == 0
    assert server.service()["spec"]["predictor"]["model"]["storageUri"] == V1


def test_account_of_the_deploy_step_may_do_what_it_does_and_nothing_else(plane: ControlPlane, tmp_path: Path) -> None:
    grant(plane, role()["rules"])
    account = tmp_path / "kubeconfig"
    account.write_text(kubeconfig_of(plane.host, plane.ca, plane.token(*ACCOUNT)))
    done = subprocess.run(
        [tool("kubectl"), "--kubeconfig", str(account), "--namespace", NAMESPACE, "auth", "can-i", "--list", "--no-headers"],
        capture_output=True,
        text=True,
    )
    listed = {line.split()[0] for line in done.stdout.splitlines() if not line.startswith(" ")}
    allowed = {f"{resource}.{rule['apiGroups'][0]}".rstrip(".") for rule in role()["rules"] for resource in rule["resources"]}
    assert {each for each in listed if "selfsubject" not in each} == allowed
    for verb, group, resource, name, allows in (
        ("get", "gateway.networking.k8s.io", "httproutes", "brain-tumor", True),
        ("get", "gateway.networking.k8s.io", "httproutes", "another", False),
        ("list", "", "secrets", "", False),
        ("delete", "serving.kserve.io", "inferenceservices", "", False),
        ("patch", "apps", "deployments", "", False),
        ("get", "", "pods/log", "", False),
    ):
        assert is_allowed(plane, verb, group, resource, name) is allows, (verb, resource)


@pytest.mark.parametrize("name", OVERLAYS)
def test_pod_of_the_overlay_is_admitted_under_restricted(plane: ControlPlane, name: str) -> None:
    pod = pod_of(predictor_pod(overlay(name)))
    plane.request("POST", f"{CORE}/pods", pod, dryRun="All", fieldValidation="Strict")
    del pod["spec"]["containers"][0]["securityContext"]
    with pytest.raises(httpx.HTTPStatusError, match='violates PodSecurity \\\\"restricted'):
        plane.request("POST", f"{CORE}/pods", pod, dryRun="All")


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_chart_is_accepted_and_its_pods_are_admitted_under_restricted(plane: ControlPlane, values: Path) -> None:
    objects = render(values=values)
    custom = {f"{each['kind'].lower()}s.{CUSTOM[each['kind']]}" for each in objects if each["kind"] in CUSTOM}
    if missing := [name for name in sorted(custom) if plane.find(f"{CRDS}/{name}") is None]:
        pytest.skip(f"the cluster of KUBECONFIG has no {', '.join(missing)}")
    for document in objects:
        document["metadata"].pop("namespace", None)
    text = "\n---\n".join(map(json.dumps, objects))
    command = ("apply", "--server-side", "--validate=strict", "--namespace", NAMESPACE, "-f", "-")
    done = kubectl(plane, *command, text=text)
    kubectl(plane, "delete", "--wait=false", "--namespace", NAMESPACE, "-f", "-", text=text)
    assert (done.returncode, done.stderr) == (0, "")  # a Deployment whose pods Pod Security rejects is a warning
    assert len(done.stdout.splitlines()) == len(objects)


@pytest.mark.parametrize("mode", MODES)
def test_pod_of_the_deploy_step_is_admitted_under_restricted(plane: ControlPlane, mode: str) -> None:
    documents = [each for each in overlay(mode.lower()) if each["kind"] != "InferenceService"]
    pod = pod_of(predictor_pod([*documents, new_service(V1, mode=mode, image="registry/serving:1")]))
    plane.request("POST", f"{CORE}/pods", pod, dryRun="All", fieldValidation="Strict")


def pod_of(spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "overlay", "labels": pod_labels()}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec | {"serviceAccountName": "default"}}


def test_quota_that_admits_no_pod_of_the_canary_is_the_reason(
    server: RealServer, client: InferenceServiceClient, plane: ControlPlane
) -> None:
    deploy(client, V1, canary_percent=10)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    plane.apply(f"{CORE}/resourcequotas/few", quota)
    while "pods" not in plane.find(f"{CORE}/resourcequotas/few").get("status", {}).get("used", {}):
        time.sleep(0.1)
    with pytest.raises(RolloutError, match=r"is forbidden: exceeded quota: few, .*; rolled back to version 1 at 100 %$"):
        deploy(client, V2, canary_percent=10, ready_seconds=server.patience)
    assert server.settle() == [{"1": 100}]
    server.reconcile()
    assert plane.find(f"{APPS}/deployments/brain-tumor-v2-predictor") is None
