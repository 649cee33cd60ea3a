"""What KServe made of the InferenceService: a Deployment for each version, its pods, and the HTTPRoutes in front of them."""

from collections.abc import Iterator
from typing import Any

from brain_tumor.model_card import MODEL_NAME
from components.deploy.kubernetes_api import InferenceServiceClient
from components.uris import redact_credentials

LABEL = "serving.kserve.io/inferenceservice"
STARTING = {"ContainerCreating", "PodInitializing"}
ROUTES = (MODEL_NAME, f"{MODEL_NAME}-predictor")
FAILED = ("ReplicaFailure", "True")
MESSAGE_CHARACTERS = 300


def deployment(client: InferenceServiceClient, name: str) -> dict[str, Any] | None:
    """Return a Deployment of the namespace, or None if there is none."""
    return client.read(f"/apis/apps/v1/namespaces/{client.namespace}/deployments/{name}")


def reasons_not_rolled_out(found: dict[str, Any] | None, version: str) -> list[str]:
    """Return the reasons why pods of a Deployment do not all serve a version; empty if they do and none of another is left."""
    if found is None:
        return ["its Deployment does not exist yet"]
    status, wanted = found.get("status", {}), found["spec"].get("replicas", 1)
    if _version(found) != version or status.get("observedGeneration", 0) < found["metadata"]["generation"]:
        return ["its Deployment is not changed yet"]
    updated, ready, pods = (status.get(name, 0) for name in ("updatedReplicas", "readyReplicas", "replicas"))
    if updated == ready == pods == wanted:
        return []
    reasons = [each["message"] for each in status.get("conditions", []) if (each["type"], each["status"]) == FAILED]
    return [*reasons, f"pods: {updated} of {wanted} of this version, {pods - updated} of another, {ready} of {pods} ready"]


def pods(client: InferenceServiceClient) -> list[dict[str, Any]]:
    """Return the pods of the InferenceService."""
    path = f"/api/v1/namespaces/{client.namespace}/pods"
    return list((client.read(path, labelSelector=f"{LABEL}={MODEL_NAME}") or {"items": []})["items"])


def pod_reasons(found: list[dict[str, Any]], prefix: str) -> list[str]:
    """Return what pods whose names begin with `prefix` wait for, and why their containers ended, each once."""
    mine = (pod for pod in found if pod["metadata"]["name"].startswith(f"{prefix}-"))
    return list(dict.fromkeys(reason for pod in mine for reason in _pod_reasons(pod.get("status", {}))))


def routed_percent(client: InferenceServiceClient, service: str) -> int | None:
    """Return the traffic percentage that HTTPRoutes give a Service, the lowest of them; None if there is no HTTPRoute."""
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{client.namespace}/httproutes"
    routes = [route for name in ROUTES if (route := client.read(f"{path}/{name}"))]
    rules = [rule["backendRefs"] for route in routes for rule in route["spec"].get("rules", []) if rule.get("backendRefs")]
    return min((_percent(backends, service) for backends in rules), default=None)


def _percent(backends: list[dict[str, Any]], service: str) -> int:
    weights = [(each["name"], each.get("weight", 1)) for each in backends]
    total = sum(weight for _, weight in weights)
    return round(100 * sum(weight for name, weight in weights if name == service) / total) if total else 0


def _version(found: dict[str, Any]) -> str | None:
    containers = found["spec"]["template"]["spec"]["containers"]
    variables = [each for container in containers for each in container.get("env", [])]
    return next((each.get("value") for each in variables if each["name"] == "MODEL_VERSION"), None)


def _pod_reasons(status: dict[str, Any]) -> Iterator[str]:
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("message"):
        yield _sentence("pod", scheduled)
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        states = (container.get("state", {}), container.get("lastState", {}))
        for ended in (state["terminated"] for state in states if "terminated" in state):
            if ended.get("exitCode"):
                yield _sentence(container["name"], ended)
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") not in {None, *STARTING}:
            yield _sentence(container["name"], waiting)


def _sentence(name: str, state: dict[str, Any]) -> str:
    """Return a state as one line. The end of a long message names the cause, as of a traceback."""
    message = redact_credentials(" ".join(state.get("message", "").split()))[-MESSAGE_CHARACTERS:]
    return ": ".join(filter(None, [name, state.get("reason"), message]))
