"""The InferenceService: what it says of a rollout, and the fields that say it, in each deployment mode."""

from pathlib import Path
from typing import Any

import yaml

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.deploy.rollout import Rollout, version_of

STANDARD, KNATIVE = "Standard", "Knative"
TEMPLATE = Path(__file__).with_suffix(".yaml")
MODE = "serving.kserve.io/deploymentMode"
PREVIOUS = "brain-tumor/previous-model"


def new_service(uri: str, *, mode: str, image: str) -> dict[str, Any]:
    """Return the whole InferenceService.

    Args:
        uri: address of the version that it serves.
        mode: `Standard` or `Knative`.
        image: of the transformer.

    Raises:
        InputError: another mode.
    """
    if mode not in (STANDARD, KNATIVE):
        raise InputError(f"deployment_mode is {mode!r}, wanted {STANDARD} or {KNATIVE}")
    service: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text())
    service["metadata"]["annotations"][MODE] = mode
    predictor = service["spec"]["predictor"]
    predictor["model"] |= _model(uri)
    (transformer,) = predictor["containers"]
    transformer["image"] = image
    if mode == KNATIVE:  # it takes one port a pod, drains by itself, and refuses the rest
        del transformer["ports"][1:], transformer["lifecycle"], transformer["startupProbe"]
        del predictor["terminationGracePeriodSeconds"]
    return service


def mode_of(service: dict[str, Any]) -> str:
    """Return a service's deployment mode: what it asks for, else what the controller chose."""
    asked = service["metadata"].get("annotations", {}).get(MODE)
    return str(asked or service.get("status", {}).get("deploymentMode", STANDARD))


def read_rollout(service: dict[str, Any]) -> Rollout | None:
    """Return what a service serves, or None where it has no model yet."""
    predictor = service["spec"]["predictor"]
    latest = predictor.get("model", {}).get("storageUri")
    previous = service["metadata"].get("annotations", {}).get(PREVIOUS)
    if latest is None:
        return None
    if mode_of(service) == KNATIVE:
        percent = predictor.get("canaryTrafficPercent")
        if percent is None or previous is None:
            return Rollout(latest, previous=previous)
        return Rollout(latest) if latest == previous else Rollout(previous, latest, percent)
    for canary in service["spec"].get("canary", []):
        uri = canary["predictor"].get("model", {}).get("storageUri", latest)
        return Rollout(latest, uri, canary["trafficPercent"], previous)
    return Rollout(latest, previous=previous)


def owned_fields(rollout: Rollout, service: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that the deploy step owns of a service, for it to serve `rollout`; the rest is left to others."""
    fields: dict[str, Any] = {key: service[key] for key in ("apiVersion", "kind")}
    fields["metadata"] = {"name": MODEL_NAME}
    fields["spec"] = _knative(rollout, service) if mode_of(service) == KNATIVE else _standard(rollout, service)
    # An annotation reaches the pods: it may only change with the model, or it would restart them.
    previous = rollout.previous
    if mode_of(service) == KNATIVE and "canaryTrafficPercent" in fields["spec"]["predictor"]:
        previous = rollout.stable
    if previous:
        fields["metadata"]["annotations"] = {PREVIOUS: previous}
    return fields


def _standard(rollout: Rollout, service: dict[str, Any]) -> dict[str, Any]:
    """The stable version in the predictor, the canary beside it with a Deployment and a Service of its own."""
    spec: dict[str, Any] = {"predictor": {"model": _model(rollout.stable)}}
    if rollout.canary:
        model = service["spec"]["predictor"]["model"]
        canary = _model(rollout.canary)
        # KServe lays the canary over the predictor; a list replaces the predictor's.
        canary["env"] = [one for one in model.get("env", []) if one["name"] != "MODEL_VERSION"] + canary["env"]
        # The schema wants the name of a canary's model, and the webhook of KServe wants it empty.
        canary |= {"name": "", "modelFormat": model["modelFormat"]}
        predictor: dict[str, Any] = {"name": _canary_name(rollout.canary), "model": canary}
        if rollout.canary_percent == 0:
            predictor["minReplicas"] = 1  # else KServe scales it with the share, to none
        spec["canary"] = [{"trafficPercent": rollout.canary_percent, "predictor": predictor}]
    return spec


def _knative(rollout: Rollout, service: dict[str, Any]) -> dict[str, Any]:
    """The newest version in the predictor; Knative keeps the revision before it and splits between the two."""
    predictor: dict[str, Any] = {"model": _model(rollout.newest)}
    before = read_rollout(service)
    if rollout.canary:
        predictor["canaryTrafficPercent"] = rollout.canary_percent
    elif before and before.stable == rollout.stable and service["spec"]["predictor"].get("canaryTrafficPercent") is not None:
        # Without this the withdrawn revision would get every request until the one that replaces it is ready.
        predictor["canaryTrafficPercent"] = 0
    return {"predictor": predictor}


def _model(uri: str) -> dict[str, Any]:
    return {"storageUri": uri, "env": [{"name": "MODEL_VERSION", "value": version_of(uri)}]}


def newest_service(rollout: Rollout, service: dict[str, Any]) -> str:
    """Return the name of the Service in front of the newest version's pods alone."""
    if mode_of(service) == KNATIVE:
        return str(service["status"]["components"]["predictor"]["latestReadyRevision"])
    name = _canary_name(rollout.canary) if rollout.canary else service["spec"]["predictor"].get("name")
    return "-".join(filter(None, [MODEL_NAME, name, "predictor"]))


def reasons_not_ready(rollout: Rollout, service: dict[str, Any]) -> str:
    """Return what keeps the newest version from being ready, from the conditions; empty where it is ready."""
    status = service.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    canaries = {each["name"]: each for each in status.get("canaryStatuses", [])}
    newest = status
    if mode_of(service) == STANDARD and rollout.canary:
        newest = canaries.get(_canary_name(rollout.canary), {})
        ready = newest.get("ready", False)
    else:
        revisions = status.get("components", {}).get("predictor", {})
        ready = conditions.get("Ready", {}).get("status") == "True"
        ready = ready and revisions.get("latestCreatedRevision") == revisions.get("latestReadyRevision")
    if ready:
        return ""
    reasons = [_reason(one) for one in conditions.values() if one.get("status") != "True"]
    failure = newest.get("modelStatus", {}).get("lastFailureInfo")
    if failure:
        reasons.append(f"model: {failure.get('reason')}: {failure.get('message')}")
    return "; ".join(reasons) or "the controller of KServe has not looked at it yet"


def _canary_name(uri: str) -> str:
    """Name a canary after its version, so that no readiness is another version's."""
    return f"v{version_of(uri)}"


def _reason(condition: dict[str, Any]) -> str:
    return ": ".join(filter(None, [condition["type"], condition.get("reason"), condition.get("message")]))
