"""A real API server with the simulated controller of KServe, as a test of the deploy step sees both.

The controller does what KServe's does: it writes the status of the InferenceService, and creates Deployments, Services and
HTTPRoutes. Kubernetes' own controllers create the pods of the Deployments. There is no kubelet: the controller writes the
pods' statuses, too.
"""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.cluster.control_plane import APPLY, MERGE, ControlPlane, host_address
from tests.components.deploy.api_server import NAMESPACE, OBJECT, StatusError, role
from tests.components.deploy.kserve import INITIALIZER, LABELS, Controller, Deployment, pod_status

CORE, APPS = f"/api/v1/namespaces/{NAMESPACE}", f"/apis/apps/v1/namespaces/{NAMESPACE}"
ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes"
ROLES = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
ACCOUNT = ("kubeflow", "pipeline-runner")
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


class Relay(BaseHTTPRequestHandler):
    """Forwards a request to a Service to the backend of its version: it stands for the pods."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "RelayServer"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.owner.proxied.append((self.server.service, self.path))
        headers = {"Content-Type": self.headers["Content-Type"] or ""}
        request = urllib.request.Request(self.server.url + self.path, body or None, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                code, content = response.status, response.read()
        except urllib.error.HTTPError as error:
            code, content = error.code, error.read()
            error.close()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


class RelayServer(ThreadingHTTPServer):
    """One relay for each Service and backend."""

    def __init__(self, owner: "RealServer", service: str, url: str):
        super().__init__((host_address(), 0), Relay)
        self.owner, self.service, self.url = owner, service, url
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class RealServer:
    """The API server; its attributes and methods are those of the simulated one."""

    patience = 10

    def __init__(self, plane: ControlPlane, backends: dict[str, str]):
        self.plane, self.host, self.ca = plane, plane.host, plane.ca
        self.backends, self.controller = backends, Controller()
        self.proxied: list[tuple[str, str]] = []
        self.token = plane.token(*ACCOUNT)
        self._relays: dict[tuple[str, str], RelayServer] = {}
        self._applied: dict[str, Any] = {}
        self._lock, self._ended = threading.RLock(), threading.Event()

    def apply(self, document: dict[str, Any], manager: str = "kubectl", *, force: bool = False) -> dict[str, Any]:
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        return self._change(document, APPLY, **query)

    def patch(self, fields: dict[str, Any], manager: str = "kubectl-patch") -> dict[str, Any]:
        return self._change(fields, MERGE, fieldManager=manager)

    def _change(self, document: dict[str, Any], content_type: str, **query: str) -> dict[str, Any]:
        metadata = {key: value for key, value in document.get("metadata", {}).items() if key != "namespace"}
        document = document | ({"metadata": metadata} if metadata else {})
        try:
            return dict(self.plane.request("PATCH", OBJECT, document, content_type, **query))
        except httpx.HTTPStatusError as error:
            body = error.response.json()
            raise StatusError(error.response.status_code, body["message"], **body.get("details", {})) from error

    def service(self) -> dict[str, Any]:
        return dict(self.plane.request("GET", OBJECT))

    @property
    def exists(self) -> bool:
        return self.plane.find(OBJECT) is not None

    @property
    def generation(self) -> int:
        return int(self.service()["metadata"]["generation"])

    def owners(self) -> dict[str, list[str]]:
        managed = [each for each in self.service()["metadata"]["managedFields"] if each.get("subresource") != "status"]
        return {each["manager"]: sorted(_paths(each["fieldsV1"])) for each in managed}

    def settle(self) -> list[dict[str, int]]:
        for _ in range(2):
            self.reconcile()
        return self.controller.traffic

    def forbid(self, verb: str, resource: str) -> None:
        rules = [
            rule | {"verbs": [each for each in rule["verbs"] if (each, resource) != (verb, rule["resources"][0])]}
            for rule in role()["rules"]
        ]
        grant(self.plane, [rule for rule in rules if rule["verbs"]])
        rule = next(rule for rule in role()["rules"] if rule["resources"] == [resource])
        while is_allowed(self.plane, verb, rule["apiGroups"][0], resource, *rule.get("resourceNames", [])[:1]):
            time.sleep(0.05)

    def reconcile(self) -> None:
        """Let the controller do what it does all the time."""
        with self._lock:
            service = self.plane.find(OBJECT)
            if service is None:
                return
            status = self.controller.reconcile(service)
            if status != service.get("status"):
                self._write_status(status)
            for name, deployment in self.controller.deployments.items():
                self._sync(f"{APPS}/deployments/{name}", _deployment(name, deployment, self.controller.kserve_version))
            self._write_pods()
            for name, version in self.controller.running.items():
                self._write_service(name, version)
            for name in ("brain-tumor", "brain-tumor-predictor") if self.controller.routes else ():
                self._sync(f"{ROUTES}/{name}", _route(name, self.controller.routes or {}))
            self._prune()

    def _write_status(self, status: dict[str, Any]) -> None:
        try:
            self.plane.request("PATCH", f"{OBJECT}/status", {"status": None}, MERGE, fieldManager="kserve")
            self.plane.request("PATCH", f"{OBJECT}/status", {"status": status}, MERGE, fieldManager="kserve")
        except httpx.HTTPStatusError as error:  # deleted meanwhile
            if error.response.status_code != 404:
                raise

    def _sync(self, path: str, document: dict[str, Any]) -> None:
        if self._applied.get(path) != document:
            self.plane.apply(path, document, "kserve")
            self._applied[path] = document

    def _prune(self) -> None:
        """Delete what the controller no longer wants."""
        wanted = {f"{APPS}/deployments/{name}" for name in self.controller.deployments}
        wanted |= {f"{CORE}/services/{name}" for name in self.controller.running}
        wanted |= {f"{CORE}/endpoints/{name}" for name in self.controller.running}
        wanted |= {f"{ROUTES}/{name}" for name in ("brain-tumor", "brain-tumor-predictor") if self.controller.routes}
        for path in set(self._applied) - wanted:
            self.plane.delete(path)
            del self._applied[path]

    def _write_pods(self) -> None:
        for name, deployment in self.controller.deployments.items():
            mine = [pod for pod in self._pods() if pod["metadata"]["labels"].get("app") == f"isvc.{name}"]
            new = [pod for pod in mine if _version(pod) == deployment.version]
            new.sort(key=lambda pod: (not _is_ready(pod), pod["metadata"]["name"]))
            held = 1 if name in self.controller.changing and len(mine) > 1 else 0
            for pod in new[: deployment.pods - held]:
                if deployment.broken != (not _is_ready(pod)) or not pod["status"].get("podIP"):
                    self._write_pod(pod["metadata"]["name"], pod_status(deployment.broken))

    def _pods(self) -> list[dict[str, Any]]:
        label = ",".join(f"{key}={value}" for key, value in LABELS.items())
        return list(self.plane.request("GET", f"{CORE}/pods", labelSelector=label)["items"])

    def _write_pod(self, name: str, status: dict[str, Any]) -> None:
        address = host_address()
        status = status | {"podIP": address, "podIPs": [{"ip": address}]}
        try:
            self.plane.request("PATCH", f"{CORE}/pods/{name}/status", {"status": status}, MERGE)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise

    def _write_service(self, name: str, version: str) -> None:
        port = {"name": "http", "port": 80}
        document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [port]}}
        self._sync(f"{CORE}/services/{name}", document)
        owner = {name, f"{name}-deployment"}
        pods = [pod for pod in self._pods() if pod["metadata"]["labels"].get("app", "").removeprefix("isvc.") in owner]
        ready = sorted(pod["metadata"]["name"] for pod in pods if _is_ready(pod))
        subsets = []
        if ready and version in self.backends:
            relay = self._relay(name, self.backends[version])
            target = {"kind": "Pod", "namespace": NAMESPACE, "name": ready[-1]}
            address = {"ip": host_address(), "targetRef": target}
            subsets = [{"addresses": [address], "ports": [{"name": "http", "port": relay.server_port}]}]
        endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name}, "subsets": subsets}
        self._sync(f"{CORE}/endpoints/{name}", endpoints)

    def _relay(self, service: str, url: str) -> RelayServer:
        if (service, url) not in self._relays:
            self._relays[service, url] = RelayServer(self, service, url)
        return self._relays[service, url]

    @contextmanager
    def running(self) -> Iterator["RealServer"]:
        """Run the controller in an empty namespace."""
        self._empty()
        failures: list[BaseException] = []

        def loop() -> None:
            while not self._ended.wait(0.05):
                try:
                    self.reconcile()
                except BaseException as error:
                    failures.append(error)
                    return

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()
            for relay in self._relays.values():
                relay.shutdown()
                relay.server_close()
        assert not failures, failures

    def _empty(self) -> None:
        self.plane.delete(OBJECT)
        for path in (f"{APPS}/deployments", ROUTES, f"{CORE}/resourcequotas", f"{CORE}/endpoints"):
            self.plane.delete(path)
        for service in self.plane.request("GET", f"{CORE}/services")["items"]:
            self.plane.delete(f"{CORE}/services/{service['metadata']['name']}")
        self.plane.delete(f"{APPS}/replicasets")
        self.plane.delete(f"{CORE}/pods")
        grant(self.plane, role()["rules"])


def grant(plane: ControlPlane, rules: list[dict[str, Any]]) -> None:
    """Give the account of the pipeline's runs the permissions of a Role."""
    group = "rbac.authorization.k8s.io"
    head = {"apiVersion": f"{group}/v1", "metadata": {"name": "brain-tumor-deploy"}}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT[1], "namespace": ACCOUNT[0]}
    reference = {"apiGroup": group, "kind": "Role", "name": "brain-tumor-deploy"}
    plane.apply(f"{ROLES}/roles/brain-tumor-deploy", head | {"kind": "Role", "rules": rules})
    plane.apply(
        f"{ROLES}/rolebindings/brain-tumor-deploy",
        head | {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]},
    )


def is_allowed(plane: ControlPlane, verb: str, group: str, resource: str, name: str = "") -> bool:
    """Return whether the account of the pipeline's runs may do something in the service's namespace, as the API server says."""
    kind, _, part = resource.partition("/")
    attributes = {"namespace": NAMESPACE, "verb": verb, "group": group, "resource": kind, "subresource": part, "name": name}
    user = f"system:serviceaccount:{ACCOUNT[0]}:{ACCOUNT[1]}"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = plane.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def require_simulated_controller(plane: ControlPlane) -> None:
    """Skip a test whose simulated controller would work against the KServe of the cluster."""
    if plane.has_kserve:
        pytest.skip("the cluster of KUBECONFIG has a KServe of its own")


def create_namespaces(plane: ControlPlane) -> None:
    """Create the namespaces of the service, where Pod Security is "restricted", and of the pipeline's runs."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    for name, metadata in ((NAMESPACE, {"labels": labels}), (ACCOUNT[0], {})):
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name} | metadata}
        plane.apply(f"/api/v1/namespaces/{name}", document)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT[1]}}
    plane.apply(f"/api/v1/namespaces/{ACCOUNT[0]}/serviceaccounts/{ACCOUNT[1]}", account)
    while plane.find(f"{CORE}/serviceaccounts/default") is None:  # a pod needs it
        time.sleep(0.1)


def _deployment(name: str, deployment: Deployment, kserve_version: str) -> dict[str, Any]:
    labels = LABELS | {"app": f"isvc.{name}"}
    initializer = {"name": "storage-initializer", "image": f"{INITIALIZER}:{kserve_version}", "securityContext": RESTRICTED}
    variables = [{"name": "MODEL_VERSION", "value": deployment.version}]
    container = {"name": "kserve-container", "image": "tensorflow/serving", "env": variables, "securityContext": RESTRICTED}
    pod = {"initContainers": [initializer], "containers": [container], "terminationGracePeriodSeconds": 0}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": deployment.pods, "selector": {"matchLabels": {"app": labels["app"]}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def _route(name: str, weights: dict[str, int]) -> dict[str, Any]:
    backends = [{"name": service, "port": 80, "weight": weight} for service, weight in weights.items()]
    head = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name}}
    return head | {"spec": {"rules": [{"backendRefs": backends}]}}


def _version(pod: dict[str, Any]) -> str:
    (version,) = (each.get("value", "") for each in pod["spec"]["containers"][0]["env"] if each["name"] == "MODEL_VERSION")
    return str(version)


def _is_ready(pod: dict[str, Any]) -> bool:
    return any((each["type"], each["status"]) == ("Ready", "True") for each in pod["status"].get("conditions", []))


def _paths(fields: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the paths of fields in the format FieldsV1, in the notation of conflicts."""
    for key, inner in fields.items():
        kind, _, name = key.partition(":")
        if kind == "f":
            here = f"{path}.{name}"
        elif kind == "k":
            here = f"{path}[{','.join(f'{one}={json.dumps(value)}' for one, value in json.loads(name).items())}]"
        else:  # "." is the item or map itself
            continue
        if inner:
            yield from _paths(inner, here)
        else:
            yield here
