"""A simulation of KServe's controller, as far as the deploy step observes it.

Source: KServe 0.21, `pkg/controller/v1beta1/inferenceservice`, `components/predictor.go` for Standard and
`reconcilers/knative` for Knative.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LOAD_FAILED = {"reason": "ModelLoadFailed", "message": "no such bucket"}
NO_MODEL = ""


def _version(model: dict[str, Any]) -> str:
    return next((each["value"] for each in model.get("env", []) if each["name"] == "MODEL_VERSION"), NO_MODEL)


def _condition(kind: str, ready: bool, reason: str = "MinimumReplicasUnavailable") -> dict[str, str]:
    return {"type": kind, "status": "True"} if ready else {"type": kind, "status": "False", "reason": reason}


@dataclass
class Controller:
    """Reconciles one InferenceService.

    Attributes:
        broken: Versions whose pods never get ready.
        running: Service -> version of the pods behind it.
        traffic: Traffic percentage of each version, after every change.
        restarts: Number of times that the pods of the stable version were replaced.
    """

    broken: set[str] = field(default_factory=lambda: {NO_MODEL})
    running: dict[str, str] = field(default_factory=dict)
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
        canaries = []
        for canary in service["spec"].get("canary", []):
            replicas = canary["predictor"].get("minReplicas", -(-canary["trafficPercent"] // 100))
            version = _version(canary["predictor"]["model"])
            ready = version not in self.broken and replicas > 0
            canaries.append({"name": canary["predictor"]["name"], "ready": ready, "trafficPercent": canary["trafficPercent"]})
            if version in self.broken:
                canaries[-1]["modelStatus"] = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": LOAD_FAILED}
            conditions.append(_condition("CanaryPredictorReady", ready, "CanariesNotReady"))
            if ready:
                self.running[f"{name}-{canary['predictor']['name']}-predictor"] = version
        expected = {stable, *(f"{name}-{canary['name']}-predictor" for canary in canaries)}
        self.running = {service: version for service, version in self.running.items() if service in expected}
        percentages = {canary["name"].removeprefix("v"): canary["trafficPercent"] for canary in canaries if canary["ready"]}
        if stable in self.running:
            self._record_traffic({self.running[stable]: 100 - sum(percentages.values())} | percentages)
        return {"conditions": conditions, "canaryStatuses": canaries}

    def _knative(self, service: dict[str, Any]) -> dict[str, Any]:
        predictor, name = service["spec"]["predictor"], service["metadata"]["name"]
        older = len(self._revisions)  # a new revision gets ready later
        template = {key: value for key, value in predictor.items() if key != "canaryTrafficPercent"}
        if self._replaced(json.dumps([template, service["metadata"]["annotations"]], sort_keys=True)):
            self._revisions.append((f"{name}-predictor-{len(self._revisions) + 1:05d}", _version(predictor["model"])))
        created, version = self._revisions[-1]
        ready = [revision for revision, version in self._revisions[: older or 1] if version not in self.broken]
        self.running |= {revision: version for revision, version in self._revisions if revision in ready}
        percent = predictor.get("canaryTrafficPercent")
        if percent is None or not self._rolled_out:
            self._rolled_out, percent = ready[-1] if ready else "", 100
        percentages = Counter({self.running[self._rolled_out]: 100 - percent} if self._rolled_out else {})
        for revision in ready[-1:]:
            percentages[self.running[revision]] += percent
        self._record_traffic(percentages)
        conditions = [_condition("PredictorReady", created in ready, "RevisionFailed")]
        conditions.append(_condition("Ready", created in ready, "PredictorNotReady"))
        status = {"latestCreatedRevision": created} | ({"latestReadyRevision": ready[-1]} if ready else {})
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
