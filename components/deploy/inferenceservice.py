"""The InferenceService: a new one from the template, and how each deployment mode expresses a rollout in its fields."""

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.deploy.conditions import failures
from components.deploy.fields import differences
from components.deploy.model_digest import PREVIOUS_ANNOTATION, add_digests, read_digests
from components.deploy.rollout import Rollout, model_uri, storage_uri, version_of

STANDARD, KNATIVE = "Standard", "Knative"
TEMPLATE = Path(__file__).with_suffix(".yaml")
MODE_ANNOTATION = "serving.kserve.io/deploymentMode"
CANARY_PERCENT = "canaryTrafficPercent"
AUTOSCALER_ANNOTATION = "serving.kserve.io/autoscalerClass"


class InferenceService(ABC):
    """An InferenceService as the API server returns it. Each deployment mode is a subclass.

    Args:
        document: The whole object.
    """

    mode: ClassVar[str]

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
        uri = model_uri(self._predictor)
        if uri is None:
            return None
        previous = self._annotations.get(PREVIOUS_ANNOTATION, "").rstrip("/") or None
        return replace(self._rollout(uri, previous), digests=read_digests(self._document))

    @abstractmethod
    def _rollout(self, uri: str, previous: str | None) -> Rollout:
        """Return the rollout of a service with the predictor's model URI and the annotated previous one."""

    @property
    def field_managers(self) -> list[dict[str, Any]]:
        """The field managers of the service, each with its fields."""
        return list(self._document["metadata"].get("managedFields", []))

    @property
    def resource_version(self) -> str:
        """The version of the object, which every change raises."""
        return str(self._document["metadata"]["resourceVersion"])

    def owned_fields(self, rollout: Rollout) -> dict[str, Any]:
        """Return the fields that the deploy step owns in a service that serves `rollout`. All others keep their owners.

        Each has a value, an empty one where nothing is wanted: to leave a field out removes it only if nobody else owns it.
        """
        spec, previous = self._spec_and_previous(rollout)
        metadata: dict[str, Any] = {"name": MODEL_NAME}
        if previous or PREVIOUS_ANNOTATION in self._annotations:
            metadata["annotations"] = {PREVIOUS_ANNOTATION: previous or ""}
        fields = {key: self._document[key] for key in ("apiVersion", "kind")} | {"metadata": metadata, "spec": spec}
        return add_digests(fields, rollout, self._document)

    @abstractmethod
    def _spec_and_previous(self, rollout: Rollout) -> tuple[dict[str, Any], str | None]:
        """Return the owned fields of `spec`, and the URI to annotate as the previous model.

        KServe copies annotations to the pods: this one may change with the model only, or it would restart the pods.
        """

    @abstractmethod
    def newest_service(self, rollout: Rollout) -> str:
        """Return the name of the Service that has only pods of the newest version behind it, once that is ready.

        The names of these pods begin with it.
        """

    def differences(self, wanted: dict[str, Any]) -> list[str]:
        """Return the fields whose value is not the wanted one, each as `path: got X, expected Y`."""
        return list(differences(wanted, self._document))

    def reasons_not_ready(self, rollout: Rollout) -> str:
        """Return the reasons why the newest version is not ready, from the conditions; empty if it is ready."""
        ready, status = self._newest_status(rollout)
        if ready:
            return ""
        reasons = failures(self._conditions().values())
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

    mode = STANDARD

    @staticmethod
    def remove_unsupported_fields(predictor: dict[str, Any]) -> None:
        """Keep every field: the template is written for this mode."""

    def _rollout(self, uri: str, previous: str | None) -> Rollout:
        for canary in self._document["spec"].get("canary") or []:
            return Rollout(uri, model_uri(canary["predictor"]) or uri, canary["trafficPercent"], previous)
        return Rollout(uri, previous=previous)

    def _spec_and_previous(self, rollout: Rollout) -> tuple[dict[str, Any], str | None]:
        spec: dict[str, Any] = {"predictor": {"model": _model(rollout.stable)}, "canary": []}
        if rollout.canary:
            model = self._predictor["model"]
            canary = _model(rollout.canary)
            # KServe overlays the canary on the predictor; a list replaces the predictor's.
            canary["env"] = [each for each in model.get("env", []) if each["name"] != "MODEL_VERSION"] + canary["env"]
            # The schema requires the name of a canary's model, and KServe's webhook requires it to be empty.
            canary |= {"name": "", "modelFormat": model["modelFormat"]}
            # KServe would leave the canary's autoscaler behind.
            annotations = {AUTOSCALER_ANNOTATION: "none"}
            predictor: dict[str, Any] = {"name": _canary_name(rollout.canary), "annotations": annotations, "model": canary}
            if rollout.canary_percent == 0:
                predictor["minReplicas"] = 1  # otherwise KServe scales it with the traffic, to zero
            spec["canary"] = [{"trafficPercent": rollout.canary_percent, "predictor": predictor}]
        return spec, rollout.previous

    def newest_service(self, rollout: Rollout) -> str:
        name = _canary_name(rollout.canary) if rollout.canary else self._predictor.get("name")
        return "-".join(filter(None, [MODEL_NAME, name, "predictor"]))

    def minimum_beside(self, rollout: Rollout) -> tuple[int, int]:
        """Return the minimum of stable pods without the canary and while it is ready: KServe subtracts the canary's pods."""
        minimum = self._predictor.get("minReplicas", 1)
        canary_pods = max(1, -(-minimum * rollout.canary_percent // 100))
        return minimum, max(1, minimum - canary_pods)

    def _newest_status(self, rollout: Rollout) -> tuple[bool, dict[str, Any]]:
        if rollout.canary is None:
            return super()._newest_status(rollout)
        statuses = {each["name"]: each for each in self._status.get("canaryStatuses", [])}
        status = statuses.get(_canary_name(rollout.canary), {})
        return status.get("ready", False), status


class KnativeService(InferenceService):
    """The newest version in the predictor. Knative keeps the previous revision and splits the traffic between the two."""

    mode = KNATIVE

    @staticmethod
    def remove_unsupported_fields(predictor: dict[str, Any]) -> None:
        """Remove all ports but the first, and hooks: Knative takes one port a pod and drains it itself."""
        (transformer,) = predictor["containers"]
        del transformer["ports"][1:], transformer["lifecycle"], transformer["startupProbe"]
        del predictor["terminationGracePeriodSeconds"]

    def _rollout(self, uri: str, previous: str | None) -> Rollout:
        percent = self._predictor.get(CANARY_PERCENT, 100)
        if percent == 100 or previous is None:
            return Rollout(uri, previous=previous)
        return Rollout(uri) if uri == previous else Rollout(previous, uri, percent)

    def _spec_and_previous(self, rollout: Rollout) -> tuple[dict[str, Any], str | None]:
        before, percent = self.read_rollout(), 100
        if rollout.canary:
            percent = rollout.canary_percent
        elif before and before.stable == rollout.stable and self._predictor.get(CANARY_PERCENT, 100) < 100:
            # Otherwise the rolled-back revision would receive 100 % of traffic until its replacement is ready.
            percent = 0
        predictor = {"model": _model(rollout.newest), CANARY_PERCENT: percent}
        return {"predictor": predictor}, rollout.stable if percent < 100 else rollout.previous

    def newest_service(self, rollout: Rollout) -> str:
        return str(self._revisions().get("latestCreatedRevision", f"{MODEL_NAME}-predictor"))

    def traffic(self) -> tuple[int, int]:
        """Return the traffic percentage of the newest ready revision: the one that acts, and the one that was applied."""
        applied = self._predictor.get(CANARY_PERCENT, 100)
        acting = [each.get("percent", 0) for each in self._revisions().get("traffic", []) if each.get("latestRevision")]
        return sum(acting) if acting else applied, applied

    def _newest_status(self, rollout: Rollout) -> tuple[bool, dict[str, Any]]:
        (ready, status), revisions = super()._newest_status(rollout), self._revisions()
        return ready and revisions.get("latestCreatedRevision") == revisions.get("latestReadyRevision"), status

    def _revisions(self) -> dict[str, Any]:
        return dict(self._status.get("components", {}).get("predictor", {}))


MODES: dict[str, type[InferenceService]] = {STANDARD: StandardService, KNATIVE: KnativeService}


def inference_service(document: dict[str, Any]) -> InferenceService:
    """Return an object of the API server as the class of its deployment mode: the annotated one, else the controller's choice."""
    mode = document["metadata"].get("annotations", {}).get(MODE_ANNOTATION) or document.get("status", {}).get("deploymentMode")
    return MODES.get(mode, StandardService)(document)


def new_service(uri: str, *, mode: str, image: str, digest: str = "") -> dict[str, Any]:
    """Return the whole object of a service that serves one version.

    Args:
        uri: URI of the version.
        mode: Deployment mode, `Standard` or `Knative`.
        image: Container image of the transformer.
        digest: Digest of the version's files, which the pods compare with theirs; empty if it was not verified.

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
    return add_digests(document, Rollout(uri, digests={uri: digest}), document)


def _model(uri: str) -> dict[str, Any]:
    return {"storageUri": storage_uri(uri), "env": [{"name": "MODEL_VERSION", "value": version_of(uri)}]}


def _canary_name(uri: str) -> str:
    """Return the canary's name. It contains the version, so that no status of another version is read as this one's."""
    return f"v{version_of(uri)}"
