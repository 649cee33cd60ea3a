"""The rules of the Pod Security Standard "restricted"."""

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def violations(pod: dict[str, Any]) -> list[str]:
    """Return the violations of the Pod Security Standard "restricted" in a pod's spec, each as `place: reason`."""
    context = pod.get("securityContext", {})
    return [*_pod_violations(pod), *(found for each in _containers(pod) for found in _container_violations(each, context))]


def _pod_violations(pod: dict[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"pod: {name}"
    if pod.get("securityContext", {}).get("sysctls"):
        yield "pod: sysctls"
    for volume in pod.get("volumes", []):
        if not VOLUMES & volume.keys():
            yield f"volume {volume['name']}: not of {', '.join(sorted(VOLUMES))}"


def _container_violations(container: dict[str, Any], pod_context: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    effective = pod_context | own
    capabilities = own.get("capabilities", {})
    probes = [container.get(f"{kind}Probe", {}) for kind in ("startup", "liveness", "readiness")]
    reasons = {
        "privileged": own.get("privileged"),
        "allowPrivilegeEscalation is not false": own.get("allowPrivilegeEscalation") is not False,
        "capabilities do not drop ALL": "ALL" not in capabilities.get("drop", []),
        "capabilities add": set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"},
        "runAsNonRoot is not true": effective.get("runAsNonRoot") is not True,
        "runAsUser is 0": effective.get("runAsUser") == 0,
        "seccompProfile": effective.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
        "procMount": own.get("procMount", "Default") != "Default",
        "hostPort": any(port.get("hostPort") for port in container.get("ports", [])),
        "a probe names a host": any("host" in probe.get("httpGet", {}) for probe in probes),
    }
    yield from (f"container {container['name']}: {reason}" for reason, found in reasons.items() if found)


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]
