"""A simulation of KServe's controller, as far as the deploy step observes it.

Source: KServe 0.21, `pkg/controller/v1beta1/inferenceservice`, `components/predictor.go` for Standard and
`reconcilers/knative` for Knative; and what was seen of it in a cluster.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LABELS = {"serving.kserve.io/inferenceservice": "brain-tumor", "component": "predictor"}
INITIALIZER = "registry.example/kserve/storage-initializer"
NO_BUCKET = """Traceback (most recent call last):
  File "/storage-initializer/scripts/initializer-entrypoint", line 50
RuntimeError: Failed to fetch model. No such bucket as in s3://key:secret@models/brain-tumor?signature=abc
"""
LOAD_FAILED = {"reason": "ModelLoadFailed", "message": "no such bucket"}
NO_MODEL = ""


def _version(model: dict[str, Any]) -> str:
    return next((each["value"] for each in model.get("env", []) if each["name"] == "MODEL_VERSION"), NO_MODEL)


def _condition(kind: str, ready: bool, reason: str = "MinimumReplicasUnavailable") -> dict[str, str]:
    return {"type": kind, "status": "True"} if ready else {"type": kind, "status": "False", "reason": reason}


@dataclass
class Deployment:
    """A Deployment as KServe makes it, and the state of its pods."""

    version: str
    pods: int
    broken: bool
    pods_of_another_version: int = 0


def pod(name: str, deployment: Deployment, kserve_version: str) -> dict[str, Any]:
    """Return a pod of a Deployment as the API server returns it, as far as KServe and the kubelet determine it."""
    initializer = {"name": "storage-initializer", "image": f"{INITIALIZER}:{kserve_version}"}
    return {
        "metadata": {"name": name, "labels": LABELS | {"app": f"isvc.{name}"}},
        "spec": {"initContainers": [initializer], "containers": [{"name": "kserve-container"}]},
        "status": pod_status(deployment.broken),
    }


def pod_status(broken: bool) -> dict[str, Any]:
    """Return the status that the kubelet writes: ready, or without the model."""
    if not broken:
        started = {"name": "kserve-container", "ready": True, "restartCount": 0, "image": "", "imageID": ""}
        running = {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
        return {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [started | running]}
    ended = {"terminated": {"reason": "Error", "exitCode": 1, "message": NO_BUCKET}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
    failed = {"name": "storage-initializer", "ready": False, "restartCount": 1, "image": "", "imageID": ""}
    initializing = {"name": "kserve-container", "ready": False, "restartCount": 0, "image": "", "imageID": ""}
    return {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}],
        "initContainerStatuses": [failed | {"state": waiting, "lastState": ended}],
        "containerStatuses": [initializing | {"state": {"waiting": {"reason": "PodInitializing"}}}],
    }


@dataclass
class Controller:
    """Reconciles one InferenceService.

    Attributes:
        broken: Versions whose pods never get ready.
        changing: Deployments that keep a pod of the version before.
        has_gateway: Whether KServe makes HTTPRoutes, as with `enableGatewayApi`; without, the stable version gets all.
        frozen_routes: Service -> weight in HTTPRoutes that the controller does not change.
        kserve_version: Tag of the storage initializer's container image.
        running: Service -> version of the pods behind it.
        deployments: Name -> Deployment.
        routes: Service -> weight in the HTTPRoutes; None without them.
        traffic: Traffic percentage of each version, after every change.
        restarts: Number of times that the pods of the stable version were replaced.
    """

    broken: set[str] = field(default_factory=lambda: {NO_MODEL})
    changing: set[str] = field(default_factory=set)
    has_gateway: bool = True
    frozen_routes: dict[str, int] | None = None
    kserve_version: str = "v0.21.0"
    running: dict[str, str] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    routes: dict[str, int] | None = None
    traffic: list[dict[str, int]] = field(default_factory=list)
    restarts: int = 0
    _template: str = ""
    _revisions: list[tuple[str, str]] = field(default_factory=list)
    _rolled_out: str = ""

    def reconcile(self, service: dict[str, Any]) -> dict[str, Any]:
        """Return the status."""
        mode = service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
        status = self._standard(service) if mode == "Standard" else self._knative(service)
        return {"observedGeneration": service["metadata"]["generation"], "deploymentMode": mode} | status

    def _standard(self, service: dict[str, Any]) -> dict[str, Any]:
        predictor, name = service["spec"]["predictor"], service["metadata"]["name"]
        stable = f"{name}-predictor"
        self._replaced(json.dumps([predictor, service["metadata"]["annotations"]], sort_keys=True))
        if _version(predictor["model"]) not in self.broken:
            self.running[stable] = _version(predictor["model"])
        # A Deployment whose new pods do not start keeps the old ones and stays Available.
        conditions = [_condition("PredictorReady", stable in self.running), _condition("Ready", stable in self.running)]
        conditions.append({"type": "Stopped", "status": "False", "severity": "Info"})
        self.deployments = {stable: self._deployment(stable, predictor, predictor.get("minReplicas", 1))}
        canaries = []
        for canary in service["spec"].get("canary", []):
            replicas = canary["predictor"].get("minReplicas", -(-canary["trafficPercent"] // 100))
            version = _version(canary["predictor"]["model"])
            ready = version not in self.broken and replicas > 0
            canaries.append({"name": canary["predictor"]["name"], "ready": ready, "trafficPercent": canary["trafficPercent"]})
            conditions.append(_condition("CanaryPredictorReady", ready, "CanariesNotReady"))
            own = f"{name}-{canary['predictor']['name']}-predictor"
            self.deployments[own] = self._deployment(own, canary["predictor"], replicas)
            if ready:
                self.running[own] = version
        expected = {stable, *(f"{name}-{canary['name']}-predictor" for canary in canaries)}
        self.running = {service: version for service, version in self.running.items() if service in expected}
        weights = {f"{name}-{each['name']}-predictor": each["trafficPercent"] for each in canaries if each["ready"]}
        self.routes = self.frozen_routes or ({stable: 100 - sum(weights.values())} | weights if self.has_gateway else None)
        if stable in self.running:
            self._record_traffic(
                {self.running[each]: weight for each, weight in (self.routes or {stable: 100}).items() if each in self.running}
            )
        return {"conditions": conditions, "canaryStatuses": canaries}

    def _deployment(self, name: str, predictor: dict[str, Any], pods: int) -> Deployment:
        version = _version(predictor["model"])
        broken = version in self.broken
        return Deployment(version, pods, broken, int(name in self.changing or (broken and name in self.running)))

    def _knative(self, service: dict[str, Any]) -> dict[str, Any]:
        predictor, name = service["spec"]["predictor"], service["metadata"]["name"]
        older = len(self._revisions)  # a new revision gets ready later
        template = {key: value for key, value in predictor.items() if key != "canaryTrafficPercent"}
        if self._replaced(json.dumps([template, service["metadata"]["annotations"]], sort_keys=True)):
            self._revisions.append((f"{name}-predictor-{len(self._revisions) + 1:05d}", _version(predictor["model"])))
        created, version = self._revisions[-1]
        self.deployments = {f"{created}-deployment": Deployment(version, 1, version in self.broken)}
        ready = [revision for revision, version in self._revisions[: older or 1] if version not in self.broken]
        self.running |= {revision: version for revision, version in self._revisions if revision in ready}
        percent = predictor.get("canaryTrafficPercent")
        if percent in (None, 100) or not self._rolled_out:
            self._rolled_out, percent = ready[-1] if ready else "", 100
        percentages = Counter({self.running[self._rolled_out]: 100 - percent} if self._rolled_out else {})
        for revision in ready[-1:]:
            percentages[self.running[revision]] += percent
        self._record_traffic(percentages)
        conditions = [_condition("PredictorReady", created in ready, "RevisionFailed")]
        conditions.append(_condition("Ready", created in ready, "PredictorNotReady"))
        status: dict[str, Any] = {"latestCreatedRevision": created}
        if ready:
            status["latestReadyRevision"] = ready[-1]
            status["traffic"] = [{"revisionName": ready[-1], "latestRevision": True, "percent": percent}]
        if ready and percent < 100:
            previous = {"revisionName": self._rolled_out, "latestRevision": False, "percent": 100 - percent, "tag": "prev"}
            status["traffic"].append(previous)
        failure = {"modelStatus": {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": LOAD_FAILED}}
        return {"conditions": conditions, "components": {"predictor": status}} | (failure if version in self.broken else {})

    def _replaced(self, template: str) -> bool:
        changed = template != self._template
        self.restarts += changed and bool(self._template)
        self._template = template
        return changed

    def _record_traffic(self, percentages: dict[str, int]) -> None:
        percentages = {version: percent for version, percent in percentages.items() if percent}
        if percentages and percentages != (self.traffic[-1] if self.traffic else None):
            self.traffic.append(percentages)
