"""The least versions of what the service runs on, checked before anything is applied."""

import re
from typing import Any

from components.deploy.inferenceservice import KNATIVE, STANDARD
from components.deploy.kubernetes_api import InferenceServiceClient, KubernetesError
from components.deploy.workload import pods

# KServe 0.20 routes to canaries that are not ready: 503. Kubernetes 1.30 is the first whose preStop hooks sleep.
KUBERNETES, KSERVE = (1, 30), (0, 21)
GATEWAY_API, KNATIVE_SERVING = "gateway.networking.k8s.io", "serving.knative.dev"
SCHEMA = "/openapi/v3/apis/serving.kserve.io/v1beta1"


class VersionError(KubernetesError):
    """The cluster has an older version than the service needs. The message names both."""


def check_versions(client: InferenceServiceClient, mode: str) -> None:
    """Check the versions of Kubernetes and KServe, and in their modes the Gateway API's and Knative Serving's.

    Raises:
        VersionError: One is older than the least version.
        KubernetesError: The API server rejects a request.
    """
    kubernetes = _version(str((client.read("/version") or {}).get("gitVersion")))
    if kubernetes and kubernetes < KUBERNETES:
        raise _error("Kubernetes", kubernetes, KUBERNETES)
    kserve = max(_kserve_versions(pods(client)), default=KSERVE)
    if kserve < KSERVE:
        raise VersionError(f"{_error('KServe', kserve, KSERVE)}; its pods tell: if KServe was upgraded since, restart them")
    if mode == STANDARD and not _knows_canaries(client):
        raise VersionError("KServe: got a version without canaries in Standard mode, expected 0.21 or newer")
    if mode == STANDARD and (served := _served(client, GATEWAY_API)) and "v1" not in served:
        raise VersionError(f"Gateway API: got {', '.join(served)}, expected v1, which release 1.0 and newer serve")
    if mode == KNATIVE and "v1" not in _served(client, KNATIVE_SERVING):
        raise VersionError("Knative Serving: got none, expected 1.15 or newer, which the mode Knative needs")


def _served(client: InferenceServiceClient, group: str) -> list[str]:
    """Return the versions of an API group that the API server serves."""
    return [each["version"] for each in (client.read(f"/apis/{group}") or {"versions": []})["versions"]]


def _knows_canaries(client: InferenceServiceClient) -> bool:
    schemas = (client.read(SCHEMA) or {}).get("components", {}).get("schemas", {})
    specs = [each["properties"]["spec"] for name, each in schemas.items() if name.endswith(".InferenceService")]
    return all("canary" in spec.get("properties", {}) for spec in specs)


def _kserve_versions(found: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the versions of KServe's storage initializers in pods. A mirrored container image may have none."""
    containers = [each for pod in found for each in pod["spec"].get("initContainers", [])]
    tags = [each["image"].rpartition(":")[2] for each in containers if each["name"] == "storage-initializer"]
    return [version for tag in tags if (version := _version(tag))]


def _version(text: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _error(name: str, got: tuple[int, int], least: tuple[int, int]) -> VersionError:
    return VersionError(f"{name}: got {got[0]}.{got[1]}, expected {least[0]}.{least[1]} or newer")
