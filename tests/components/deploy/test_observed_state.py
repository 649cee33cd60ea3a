"""What a command reports is what the cluster does: ownership, routes, pods, and versions that are too old."""

import re
import threading
from typing import Any

import pytest

from brain_tumor.errors import InputError
from components.deploy.deploy import deploy, promote, roll_back
from components.deploy.inferenceservice import KNATIVE, STANDARD, inference_service, new_service
from components.deploy.kubernetes_api import (
    FIELD_MANAGER,
    TEMPLATE_MANAGER,
    InferenceServiceClient,
    KubernetesError,
)
from components.deploy.least_versions import KSERVE, KUBERNETES, VersionError
from components.deploy.rollout import Rollout
from components.deploy.waiting import RolloutError
from components.deploy.workload import pod_reasons, reasons_not_rolled_out
from tests.cluster.real_server import RealServer
from tests.components.deploy.api_server import ApiServer
from tests.components.deploy.test_deploy import MODES, SIMULATED, V1, V2, predictor
from tests.conftest import ROOT
from tests.manifests.render import OVERLAYS, overlay, the


@SIMULATED
def test_change_by_a_webhook_is_an_error(server: ApiServer, client: InferenceServiceClient) -> None:
    deploy(client, V1, canary_percent=10)
    deploy(client, V2, canary_percent=10)
    server.overwritten = {"canary": server.service()["spec"]["canary"]}
    with pytest.raises(
        KubernetesError, match=r"^the cluster changed what was applied to brain-tumor: .spec.canary: got \[{.*expected \[\]$"
    ):
        roll_back(client)


@SIMULATED
@MODES
@pytest.mark.parametrize(("command", "traffic"), [(promote, {"2": 100}), (roll_back, {"1": 100})])
def test_command_ends_once_the_controller_has_followed_it(
    server: ApiServer, client: InferenceServiceClient, monkeypatch: pytest.MonkeyPatch, mode: str, command: Any, traffic: Any
) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    deploy(client, V2, canary_percent=10, mode=mode)
    assert server.controller.traffic[-1] == {"1": 90, "2": 10}
    reconcile, status, calls = server.controller.reconcile, server.status, iter(range(20))
    monkeypatch.setattr(
        server.controller, "reconcile", lambda service: reconcile(service) if next(calls, None) is None else status
    )
    command(client)
    assert server.controller.traffic[-1] == traffic


def test_without_a_route_the_canary_is_said_to_receive_nothing(
    server: ApiServer, client: InferenceServiceClient, capsys: pytest.CaptureFixture[str]
) -> None:
    server.controller.has_gateway = False
    deploy(client, V1, canary_percent=10)
    capsys.readouterr()
    assert str(deploy(client, V2, canary_percent=10)) == (
        "version 1 at 100 %, version 2 at 0 % instead of 10 %: no HTTPRoute splits the traffic; set KServe's enableGatewayApi"
    )
    said = "deploy: no HTTPRoute splits the traffic: the canary will receive none"
    assert capsys.readouterr().out.splitlines()[0] == said
    assert server.settle() == [{"1": 100}]
    assert str(promote(client)) == "version 2 at 100 %"
    assert server.settle()[-1] == {"2": 100}


def test_route_with_other_weights_is_waited_for_and_reported(server: ApiServer, client: InferenceServiceClient) -> None:
    deploy(client, V1, canary_percent=10)
    server.controller.frozen_routes = {"brain-tumor-predictor": 3, "brain-tumor-v2-predictor": 1}
    with pytest.raises(RolloutError) as caught:
        deploy(client, V2, canary_percent=10, ready_seconds=server.patience)
    assert str(caught.value) == (
        f"the traffic is not split after {server.patience} s: "
        "an HTTPRoute sends 25 % of the traffic to brain-tumor-v2-predictor, expected 10 %"
    )
    threading.Timer(1, lambda: setattr(server.controller, "frozen_routes", None)).start()
    assert str(deploy(client, V2, canary_percent=10, ready_seconds=60)) == "version 1 at 90 %, version 2 at 10 %"


def test_version_is_at_100_percent_when_no_pod_of_another_is_left(server: ApiServer, client: InferenceServiceClient) -> None:
    server.apply(the("InferenceService", overlay("standard")))
    deploy(client, V1, canary_percent=10)
    deploy(client, V2, canary_percent=10)
    server.controller.changing.add("brain-tumor-predictor")
    pods = r"pods: 2 of 2 of this version, 1 of another, 2 of 3 ready; rolled"
    with pytest.raises(RolloutError, match=rf"^version 2 is not ready after {server.patience} s: {pods}"):
        promote(client, ready_seconds=server.patience)
    server.controller.changing.clear()
    deploy(client, V2, canary_percent=10)
    server.controller.changing.add("brain-tumor-predictor")
    calls = len(server.proxied)

    def finish() -> None:
        nonlocal calls
        calls = len(server.proxied) - calls
        server.controller.changing.clear()

    threading.Timer(1, finish).start()
    assert promote(client, ready_seconds=60) == Rollout(V2, previous=V1)
    assert calls == 0, "the smoke test waits until the Deployment is complete"


def test_lower_minimum_beside_a_canary_is_announced(
    server: ApiServer, client: InferenceServiceClient, capsys: pytest.CaptureFixture[str]
) -> None:
    server.apply(the("InferenceService", overlay("standard")))
    deploy(client, V1, canary_percent=10)
    capsys.readouterr()
    deploy(client, V2, canary_percent=10)
    assert capsys.readouterr().out.splitlines()[0] == (
        "deploy: KServe counts a canary's pods in minReplicas: "
        "while the canary is ready, at least 1 instead of 2 pods of version 1 run"
    )


@SIMULATED
@pytest.mark.parametrize(
    ("mode", "changes", "message"),
    [
        (STANDARD, {"git_version": "v1.29.14-gke.1"}, "Kubernetes: got 1.29, expected 1.30 or newer"),
        (KNATIVE, {"git_version": "v1.9.0"}, "Kubernetes: got 1.9, expected 1.30 or newer"),
        (
            STANDARD,
            {"schema": {"properties": {"spec": {"properties": {}}}}},
            "KServe: got a version without canaries in Standard",
        ),
        (
            STANDARD,
            {"versions": {"gateway.networking.k8s.io": ["v1beta1"]}},
            "Gateway API: got v1beta1, expected v1, which release",
        ),
        (KNATIVE, {"versions": {}}, "Knative Serving: got none, expected 1.15 or newer, which the mode Knative needs"),
    ],
)
def test_cluster_that_is_too_old_gets_nothing(
    server: ApiServer, client: InferenceServiceClient, mode: str, changes: dict[str, Any], message: str
) -> None:
    for name, value in changes.items():
        setattr(server, name, value)
    with pytest.raises(VersionError, match=f"^{message}"):
        deploy(client, V1, canary_percent=10, mode=mode)
    assert not server.exists


@MODES
def test_kserve_that_is_too_old_gets_no_canary(server: ApiServer, client: InferenceServiceClient, mode: str) -> None:
    server.controller.kserve_version = "v0.20.1"
    deploy(client, V1, canary_percent=10, mode=mode)  # there are no pods yet that tell
    generation = server.generation
    with pytest.raises(VersionError, match=r"^KServe: got 0.20, expected 0.21 or newer; its pods tell: "):
        deploy(client, V2, canary_percent=10, mode=mode)
    assert server.generation == generation


def test_table_of_least_versions_is_what_is_checked() -> None:
    rows = re.findall(r"^\| ([\w ()]+?) \| (\d+)\.(\d+) \|", (ROOT / "docs" / "cluster.md").read_text(), re.MULTILINE)
    table = {name: (int(major), int(minor)) for name, major, minor in rows}
    assert set(table) == {"Kubernetes", "KServe", "Gateway API (mode Standard)", "Knative Serving (mode Knative)"}
    assert (table["Kubernetes"], table["KServe"]) == (KUBERNETES, KSERVE)


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("first", ["overlay", "deploy", "early version"])
def test_overlay_and_deploy_step_never_conflict_in_any_order(
    server: ApiServer, client: InferenceServiceClient, name: str, first: str
) -> None:
    applied = the("InferenceService", overlay(name))
    mode = applied["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
    if first == "overlay":
        server.apply(applied)
    elif first == "early version":
        make_early_service(server, mode)
    deploy(client, V1, canary_percent=10, mode=mode)
    for _ in range(2):
        server.apply(applied)
        assert predictor(server)["model"]["storageUri"] == f"{V1}/"
        assert predictor(server)["minReplicas"] == applied["spec"]["predictor"]["minReplicas"]
        assert deploy(client, V1, canary_percent=10, mode=mode) == Rollout(V1)
    for command, served in (
        (lambda: deploy(client, V2, canary_percent=20, mode=mode), Rollout(V1, V2, 20)),
        (lambda: promote(client), Rollout(V2, previous=V1)),
        (lambda: roll_back(client), Rollout(V1)),
    ):
        assert command() == served
        server.apply(applied)
        current = client.get()
        assert current is not None
        assert current.read_rollout() == served
    owners = server.owners()
    assert set(owners) == {"kubectl", FIELD_MANAGER}
    shared = {*owners["kubectl"]} & {*owners[FIELD_MANAGER]}
    assert all(path in {".apiVersion", ".kind", ".metadata.name"} for path in shared)


def make_early_service(server: ApiServer | RealServer, mode: str) -> None:
    """Create a service as an early version of the deploy step left it: its template has a field manager."""
    template = new_service(V1, mode=mode, image="brain-tumor-serving:1")
    template["spec"]["predictor"]["model"]["storageUri"] = V1
    server.apply(template, TEMPLATE_MANAGER)
    model = {"storageUri": V1, "env": [{"name": "MODEL_VERSION", "value": "1"}]}
    head = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "brain-tumor"}}
    server.apply(head | {"spec": {"predictor": {"model": model}}}, FIELD_MANAGER)


@pytest.mark.parametrize(("verb", "resource"), [("get", "httproutes"), ("list", "pods"), ("get", "deployments")])
def test_role_of_an_early_version_lets_no_canary_receive_traffic(
    server: ApiServer, client: InferenceServiceClient, verb: str, resource: str
) -> None:
    deploy(client, V1, canary_percent=10)
    server.forbid(verb, resource)
    with pytest.raises(InputError, match=f"may not {verb} {resource} in namespace clinic: bind a Role that has this verb"):
        deploy(client, V2, canary_percent=10)
    assert server.settle() == [{"1": 100}]
    assert not server.service()["spec"].get("canary")


@SIMULATED
def test_template_is_released_though_the_controller_writes_meanwhile(
    server: ApiServer, client: InferenceServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_early_service(server, STANDARD)
    release = server.release
    refused: list[str] = []

    def busy(managed_fields: list[dict[str, Any]], resource_version: str) -> dict[str, Any]:
        if len(refused) < 3:
            refused.append(resource_version)
            server.changes += 1
        return release(managed_fields, resource_version)

    monkeypatch.setattr(server, "release", busy)
    deploy(client, V1, canary_percent=10)
    assert len(refused) == 3
    assert set(server.owners()) == {FIELD_MANAGER}


@MODES
def test_overlay_of_an_early_version_that_names_the_model_gives_it_up(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    early = new_service(V1, mode=mode, image="brain-tumor-serving:1")
    early["spec"]["predictor"]["model"]["storageUri"] = V1
    if mode == KNATIVE:
        early["spec"]["predictor"]["canaryTrafficPercent"] = 10
    server.apply(early)
    client.force = True
    assert deploy(client, V1, canary_percent=10, mode=mode) == Rollout(V1)
    client.force = False
    server.apply(the("InferenceService", overlay("knative" if mode == KNATIVE else "standard")))
    assert predictor(server)["model"]["storageUri"] == f"{V1}/"
    deploy(client, V2, canary_percent=100)
    assert server.settle()[-1] == {"2": 100}


def condition(kind: str, status: str, **others: str) -> dict[str, str]:
    return {"type": kind, "status": status} | others


def test_conditions_that_are_no_reason_are_not_reported() -> None:
    document = new_service(V1, mode=STANDARD, image="registry/serving:1")
    document["status"] = {
        "conditions": [
            condition("Ready", "False", reason="IngressNotReady", message="no gateway"),
            condition("Stopped", "False"),
            condition("LatestDeploymentReady", "False", severity="Info", reason="Progressing"),
        ]
    }
    assert inference_service(document).reasons_not_ready(Rollout(V1)) == "Ready: IngressNotReady: no gateway"
    document["status"]["conditions"][1] |= {"status": "True", "message": "InferenceService is stopped"}
    reasons = "Ready: IngressNotReady: no gateway; Stopped: InferenceService is stopped"
    assert inference_service(document).reasons_not_ready(Rollout(V1)) == reasons


def test_reasons_of_pods_are_those_of_the_named_version_each_once() -> None:
    def pod(name: str, **status: Any) -> dict[str, Any]:
        return {"metadata": {"name": name}, "status": status}

    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image\n  x"}}
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    ended = {"terminated": {"reason": "Completed", "exitCode": 0}}
    starting = {"waiting": {"reason": "ContainerCreating"}}
    pods = [
        pod("isvc-v2-predictor-1", containerStatuses=[{"name": "transformer-container", "state": pulling}]),
        pod("isvc-v2-predictor-2", containerStatuses=[{"name": "transformer-container", "state": pulling}]),
        pod("isvc-v2-predictor-3", containerStatuses=[{"name": "kserve-container", "state": starting, "lastState": killed}]),
        pod("isvc-v2-predictor-4", conditions=[condition("PodScheduled", "False", reason="Unschedulable", message="0/3 nodes")]),
        pod("isvc-v2-predictor-5", initContainerStatuses=[{"name": "storage-initializer", "state": ended}]),
        pod("isvc-v20-predictor-1", containerStatuses=[{"name": "kserve-container", "state": pulling}]),
        pod("isvc-v2-predictor-6"),
    ]
    assert pod_reasons(pods, "isvc-v2-predictor") == [
        "transformer-container: ImagePullBackOff: Back-off pulling image x",
        "kserve-container: OOMKilled",
        "pod: Unschedulable: 0/3 nodes",
    ]


def test_deployment_is_complete_when_every_pod_is_new_and_ready() -> None:
    container = {"name": "kserve-container", "env": [{"name": "MODEL_VERSION", "value": "2"}]}
    spec = {"replicas": 2, "template": {"spec": {"containers": [container]}}}
    status = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    found = {"metadata": {"generation": 3}, "spec": spec, "status": status}
    assert reasons_not_rolled_out(found, "2") == []
    assert reasons_not_rolled_out(found, "3") == ["its Deployment is not changed yet"]
    assert reasons_not_rolled_out(found | {"metadata": {"generation": 4}}, "2") == ["its Deployment is not changed yet"]
    assert reasons_not_rolled_out(None, "2") == ["its Deployment does not exist yet"]
    for changes, reason in (
        ({"replicas": 3}, "pods: 2 of 2 of this version, 1 of another, 2 of 3 ready"),
        ({"readyReplicas": 1}, "pods: 2 of 2 of this version, 0 of another, 1 of 2 ready"),
        ({"updatedReplicas": 1}, "pods: 1 of 2 of this version, 1 of another, 2 of 2 ready"),
    ):
        assert reasons_not_rolled_out(found | {"status": status | changes}, "2") == [reason]
    quota = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: few"}]
    failed = found | {"status": {"observedGeneration": 3, "conditions": quota}}
    assert reasons_not_rolled_out(failed, "2")[0] == "exceeded quota: few"
