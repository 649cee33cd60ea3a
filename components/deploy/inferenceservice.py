"""The InferenceService: a new one from the template, and how each deployment mode expresses a rollout in its fields."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import yaml

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.deploy.rollout import Rollout, version_of

STANDARD, KNATIVE = "Standard", "Knative"
TEMPLATE = Path(__file__).with_suffix(".yaml")
MODE_ANNOTATION = "serving.kserve.io/deploymentMode"
PREVIOUS_ANNOTATION = "brain-tumor/previous-model"
CANARY_PERCENT = "canaryTrafficPercent"


class InferenceService(ABC):
    """An InferenceService as the API server returns it. Each deployment mode is a subclass.

    Args:
        document: The whole object.
    """

    def __init__(self, document: dict[str, Any]):
        self._document = document
        self._predictor = document["spec"]["predictor"]
        self._annotations = document["metadata"].get("annotations", {})
        self._status = document.get("status", {})

    @staticmethod
    @abstractmethod
    def remove_unsupported_fields(predictor: dict[str, Any]) -> None:
        """Remove the fields of the template that the mode rejects from a predictor."""

    def read_rollout(self) -> Rollout | None:
        """Return the versions that the service serves, or None if it has no model yet."""
        uri = self._predictor.get("model", {}).get("storageUri")
        return None if uri is None else self._rollout(uri, self._annotations.get(PREVIOUS_ANNOTATION))

    @abstractmethod
    def _rollout(self, uri: str, previous: str | None) -> Rollout:
        """Return the rollout of a service with the predictor's model URI and the annotated previous one."""

    def owned_fields(self, rollout: Rollout) -> dict[str, Any]:
        """Return the fields that the deploy step owns in a service that serves `rollout`. All others keep their owners."""
        spec, previous = self._spec_and_previous(rollout)
        metadata: dict[str, Any] = {"name": MODEL_NAME}
        if previous:
            metadata["annotations"] = {PREVIOUS_ANNOTATION: previous}
        return {key: self._document[key] for key in ("apiVersion", "kind")} | {"metadata": metadata, "spec": spec}

    @abstractmethod
    def _spec_and_previous(self, rollout: Rollout) -> tuple[dict[str, Any], str | None]:
        """Return the owned fields of `spec`, and the URI to annotate as the previous model.

        KServe copies annotations to the pods: this one may change with the model only, or it would restart the pods.
        """

    @abstractmethod
    def newest_service(self, rollout: Rollout) -> str:
        """Return the name of the Service that has only pods of the newest version behind it."""

    def reasons_not_ready(self, rollout: Rollout) -> str:
        """Return the reasons why the newest version is not ready, from the conditions; empty if it is ready."""
        ready, status = self._newest_status(rollout)
        if ready:
            return ""
        reasons = [_reason(each) for each in self._conditions().values() if each.get("status") != "True"]
        failure = status.get("modelStatus", {}).get("lastFailureInfo")
        if failure:
            reasons.append(f"model: {failure.get('reason')}: {failure.get('message')}")
        return "; ".join(reasons) or "KServe's controller has not reconciled it yet"

    def _newest_status(self, rollout: Rollout) -> tuple[bool, dict[str, Any]]:
        """Return whether the newest version is ready, and the part of the status that reports on it."""
        return self._conditions().get("Ready", {}).get("status") == "True", self._status

    def _conditions(self) -> dict[str, dict[str, Any]]:
        return {condition["type"]: condition for condition in self._status.get("conditions", [])}


class StandardService(InferenceService):
    """The stable version in the predictor, and the canary next to it with a Deployment and a Service of its own."""

    @staticmethod
    def remove_unsupported_fields(predictor: dict[str, Any]) -> None:
        """Keep every field: the template is written for this mode."""

    def _rollout(self, uri: str, previous: str | None) -> Rollout:
        for canary in self._document["spec"].get("canary", []):
            canary_uri = canary["predictor"].get("model", {}).get("storageUri", uri)
            return Rollout(uri, canary_uri, canary["trafficPercent"], previous)
        return Rollout(uri, previous=previous)

    def _spec_and_previous(self, rollout: Rollout) -> tuple[dict[str, Any], str | None]:
        spec: dict[str, Any] = {"predictor": {"model": _model(rollout.stable)}}
        if rollout.canary:
            model = self._predictor["model"]
            canary = _model(rollout.canary)
            # KServe overlays the canary on the predictor; a list replaces the predictor's.
            canary["env"] = [each for each in model.get("env", []) if each["name"] != "MODEL_VERSION"] + canary["env"]
            # The schema requires the name of a canary's model, and KServe's webhook requires it to be empty.
            canary |= {"name": "", "modelFormat": model["modelFormat"]}
            predictor: dict[str, Any] = {"name": _canary_name(rollout.canary), "model": canary}
            if rollout.canary_percent == 0:
                predictor["minReplicas"] = 1  # otherwise KServe scales it with the traffic, to zero
            spec["canary"] = [{"trafficPercent": rollout.canary_percent, "predictor": predictor}]
        return spec, rollout.previous

    def newest_service(self, rollout: Rollout) -> str:
        name = _canary_name(rollout.canary) if rollout.canary else self._predictor.get("name")
        return "-".join(filter(None, [MODEL_NAME, name, "predictor"]))

    def _newest_status(self, rollout: Rollout) -> tuple[bool, dict[str, Any]]:
        if rollout.canary is None:
            return super()._newest_status(rollout)
        statuses = {each["name"]: each for each in self._status.get("canaryStatuses", [])}
        status = statuses.get(_canary_name(rollout.canary), {})
        return status.get("ready", False), status


class KnativeService(InferenceService):
    """The newest version in the predictor. Knative keeps the previous revision and splits the traffic between the two."""

    @staticmethod
    def remove_unsupported_fields(predictor: dict[str, Any]) -> None:
        """Remove all ports but the first, and hooks: Knative takes one port a pod and drains it itself."""
        (transformer,) = predictor["containers"]
        del transformer["ports"][1:], transformer["lifecycle"], transformer["startupProbe"]
        del predictor["terminationGracePeriodSeconds"]

    def _rollout(self, uri: str, previous: str | None) -> Rollout:
        percent = self._predictor.get(CANARY_PERCENT)
        if percent is None or previous is None:
            return Rollout(uri, previous=previous)
        return Rollout(uri) if uri == previous else Rollout(previous, uri, percent)

    def _spec_and_previous(self, rollout: Rollout) -> tuple[dict[str, Any], str | None]:
        predictor: dict[str, Any] = {"model": _model(rollout.newest)}
        before = self.read_rollout()
        if rollout.canary:
            predictor[CANARY_PERCENT] = rollout.canary_percent
        elif before and before.stable == rollout.stable and self._predictor.get(CANARY_PERCENT) is not None:
            # Without this the rolled-back revision would receive 100 % of traffic until its replacement is ready.
            predictor[CANARY_PERCENT] = 0
        return {"predictor": predictor}, rollout.stable if CANARY_PERCENT in predictor else rollout.previous

    def newest_service(self, rollout: Rollout) -> str:
        return str(self._status["components"]["predictor"]["latestReadyRevision"])

    def _newest_status(self, rollout: Rollout) -> tuple[bool, dict[str, Any]]:
        ready, status = super()._newest_status(rollout)
        revisions = status.get("components", {}).get("predictor", {})
        return ready and revisions.get("latestCreatedRevision") == revisions.get("latestReadyRevision"), status


MODES: dict[str, type[InferenceService]] = {STANDARD: StandardService, KNATIVE: KnativeService}


def inference_service(document: dict[str, Any]) -> InferenceService:
    """Return an object of the API server as the class of its deployment mode: the annotated one, else the controller's choice."""
    mode = document["metadata"].get("annotations", {}).get(MODE_ANNOTATION) or document.get("status", {}).get("deploymentMode")
    return MODES.get(mode, StandardService)(document)


def new_service(uri: str, *, mode: str, image: str) -> dict[str, Any]:
    """Return the whole object of a service that serves one version.

    Args:
        uri: URI of the version.
        mode: Deployment mode, `Standard` or `Knative`.
        image: Container image of the transformer.

    Raises:
        InputError: The mode is unknown.
    """
    if mode not in MODES:
        raise InputError(f"deployment_mode: got {mode!r}, expected {' or '.join(MODES)}")
    document: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text())
    document["metadata"]["annotations"][MODE_ANNOTATION] = mode
    predictor = document["spec"]["predictor"]
    predictor["model"] |= _model(uri)
    predictor["containers"][0]["image"] = image
    MODES[mode].remove_unsupported_fields(predictor)
    return document


def _model(uri: str) -> dict[str, Any]:
    return {"storageUri": uri, "env": [{"name": "MODEL_VERSION", "value": version_of(uri)}]}


def _canary_name(uri: str) -> str:
    """Return the canary's name. It contains the version, so that no status of another version is read as this one's."""
    return f"v{version_of(uri)}"


def _reason(condition: dict[str, Any]) -> str:
    return ": ".join(filter(None, [condition["type"], condition.get("reason"), condition.get("message")]))
