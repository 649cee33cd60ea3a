"""A simulated API server for the InferenceServices of one namespace, with real sockets and a simulated controller."""

import copy
import json
import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.components.deploy.kserve import LABELS, Controller, Deployment, pod
from tests.components.deploy.server_side_apply import Applied, Conflict, dotted
from tests.crds import FOLDER, crd_errors

NAMESPACE, TOKEN = "clinic", "a-token"
USER = "system:serviceaccount:kubeflow:pipeline-runner"
RBAC = Path(__file__).parents[3] / "manifests" / "base" / "rbac.yaml"
OBJECT = "/apis/serving.kserve.io/v1beta1/namespaces/clinic/inferenceservices/brain-tumor"
PROXY = re.compile(rf"/api/v1/namespaces/{NAMESPACE}/services/([\w-]+):80/proxy(/.*)")
RESOURCE = re.compile(rf"/apis?/(?:(?P<group>[\w.-]+)/)?v\w+/namespaces/{NAMESPACE}/(?P<resource>\w+)(?:/(?P<name>[\w-]+))?")


class StatusError(Exception):
    """A request that the API server rejects with a Status object."""

    def __init__(self, code: int, message: str, **details: Any):
        super().__init__(message)
        self.code = code
        self.body = {"kind": "Status", "status": "Failure", "code": code, "message": message, "details": details}


@dataclass
class ApiServer:
    """State and behaviour of the server.

    Attributes:
        controller: Controller that writes the status. It reconciles after each GET, because a real one lags behind.
        backends: Version -> URL of the backend that serves it.
        has_kserve: Whether the custom resource is defined.
        versions: API group -> versions that are served.
        git_version: Version of Kubernetes.
        schema: Schema of the InferenceService, as published.
        overwritten: Field of `spec` -> value that a webhook writes in place of any other.
        proxied: Service and path of each request that reached a backend through the proxy.
        patience: Seconds within which the pods of a version that works get ready.
    """

    host: str
    applied: Applied
    token: str = TOKEN
    patience: int = 1
    ca: Path | None = None
    controller: Controller = field(default_factory=Controller)
    backends: dict[str, str] = field(default_factory=dict)
    has_kserve: bool = True
    versions: dict[str, list[str]] = field(default_factory=dict)
    git_version: str = "v1.34.4"
    schema: dict[str, Any] = field(default_factory=dict)
    overwritten: dict[str, Any] = field(default_factory=dict)
    proxied: list[tuple[str, str]] = field(default_factory=list)
    generation: int = 0
    changes: int = 0
    status: dict[str, Any] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=lambda: list(role()["rules"]))

    def apply(self, document: dict[str, Any], manager: str = "kubectl", *, force: bool = False) -> dict[str, Any]:
        """Apply a document as a field manager. KServe's webhook rejects with 403, the schema with 422."""
        before = copy.deepcopy((self.applied.document, self.applied.managers))
        try:
            self.applied.apply(document, manager, force=force)
        except Conflict as conflict:
            causes = [
                {
                    "reason": "FieldManagerConflict",
                    "message": f'conflict with "{other}" using serving.kserve.io/v1beta1',
                    "field": dotted(path),
                }
                for path, other in conflict.owners.items()
            ]
            raise StatusError(409, f"Apply failed with {len(causes)} conflicts", causes=causes) from None
        if error := _rejection(self.applied.document):
            self.applied.document, self.applied.managers = before
            raise error
        if self.overwritten:
            self.applied.document = copy.deepcopy(self.applied.document)
            self.applied.document["spec"] |= self.overwritten
        return self._changed(before[0])

    def patch(self, fields: dict[str, Any], manager: str = "kubectl-patch") -> dict[str, Any]:
        """Change fields as `kubectl patch` does."""
        before = copy.deepcopy(self.applied.document)
        self.applied.update(fields, manager)
        return self._changed(before)

    def release(self, managed_fields: list[dict[str, Any]], resource_version: str) -> dict[str, Any]:
        """Keep the field managers of a list only."""
        if resource_version != str(self.changes):
            raise StatusError(409, "the object has been modified; please apply your changes to the latest version and try again")
        kept = {each["manager"] for each in managed_fields}
        self.applied.managers = {name: owned for name, owned in self.applied.managers.items() if name in kept}
        return self._changed(self.applied.document)

    def _changed(self, before: dict[str, Any]) -> dict[str, Any]:
        self.generation += before != self.applied.document
        self.changes += 1
        return self.service()

    def owners(self) -> dict[str, list[str]]:
        """Return the fields that each manager owns, as paths."""
        return {manager: sorted(map(dotted, owned)) for manager, owned in self.applied.managers.items() if owned}

    def service(self) -> dict[str, Any]:
        """Return the InferenceService as a client receives it."""
        service = copy.deepcopy(self.applied.document)
        managed = [{"manager": manager, "operation": "Apply", "fieldsType": "FieldsV1"} for manager in self.applied.managers]
        service["metadata"] = {"annotations": {}} | service["metadata"]
        service["metadata"] |= {"namespace": NAMESPACE, "generation": self.generation, "managedFields": managed}
        service["metadata"]["resourceVersion"] = str(self.changes)
        return service | ({"status": self.status} if self.status else {})

    @property
    def exists(self) -> bool:
        """Whether there is an InferenceService."""
        return bool(self.applied.document)

    def get(self) -> dict[str, Any]:
        if not self.exists:
            raise StatusError(404, 'inferenceservices.serving.kserve.io "brain-tumor" not found', name="brain-tumor")
        service = self.service()
        self.reconcile()
        return service

    def reconcile(self) -> None:
        """Let the controller do what it does all the time."""
        if self.exists:
            self.status = self.controller.reconcile(self.service())

    def settle(self) -> list[dict[str, int]]:
        """Let the controller reconcile once more and return the traffic percentages after each change."""
        self.get()
        return self.controller.traffic

    def forbid(self, verb: str, resource: str) -> None:
        """Take a permission from the deploy step's Role."""
        self.rules = [
            rule | {"verbs": [each for each in rule["verbs"] if (each, resource) != (verb, rule["resources"][0])]}
            for rule in self.rules
        ]

    def read(self, path: str) -> dict[str, Any]:
        """Return another object."""
        if path == "/version":
            return {"gitVersion": self.git_version}
        if path.startswith("/openapi/v3/"):
            return {"components": {"schemas": {"io.kserve.serving.v1beta1.InferenceService": self.schema}}}
        if (group := path.removeprefix("/apis/")) in self.versions:
            return {"versions": [{"version": version} for version in self.versions[group]]}
        found = RESOURCE.fullmatch(path)
        name, deployments = found and found["name"], self.controller.deployments
        match found and found["resource"]:
            case "pods":
                pods = [
                    pod(f"{name}-7c5d-{n}", each, self.controller.kserve_version)
                    for name, each in deployments.items()
                    for n in range(each.pods)
                ]
                return {"items": pods}
            case "deployments" if name in deployments:
                return _deployment(name, deployments[name])
            case "httproutes" if self.controller.routes:
                backends = [{"name": service, "weight": weight} for service, weight in self.controller.routes.items()]
                return {"spec": {"rules": [{"backendRefs": backends}]}}
        raise StatusError(404, f"{path} not found", name=str(name))

    def backend(self, service: str) -> str:
        """Return the URL of the backend of a Service."""
        version = self.controller.running.get(service)
        if version is None:
            raise StatusError(404, f'services "{service}" not found', name=service)
        if version not in self.backends:
            raise StatusError(503, f'no endpoints available for service "{service}:80"')
        return self.backends[version]

    def check_allowed(self, method: str, path: str) -> None:
        found = RESOURCE.match(path)
        if not found:  # every account may discover the API
            return
        verb = {"GET": "get" if found["name"] else "list", "PATCH": "patch", "POST": "create"}[method]
        resource = "services/proxy" if PROXY.fullmatch(path) else found["resource"]
        group = found["group"] or ""
        for rule in self.rules:
            names = rule.get("resourceNames", [found["name"]])
            if group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"] and found["name"] in names:
                return
        action = f'cannot {verb} resource "{resource}" in API group "{group}" in the namespace "{NAMESPACE}"'
        raise StatusError(403, f'{found["resource"]} is forbidden: User "{USER}" {action}')


def role() -> dict[str, Any]:
    """Return the Role of the manifests for the deploy step."""
    (found,) = (each for each in yaml.safe_load_all(RBAC.read_text()) if each["kind"] == "Role")
    return dict(found)


def _deployment(name: str, found: Deployment) -> dict[str, Any]:
    """Return a Deployment whose controller replaces one pod after another: a new one first."""
    ready = 0 if found.broken else found.pods
    status = {"observedGeneration": 1, "replicas": found.pods, "updatedReplicas": found.pods, "readyReplicas": ready}
    if found.pods_of_another_version:
        updated = 1 if found.broken else found.pods
        status |= {"replicas": found.pods + 1, "updatedReplicas": updated, "readyReplicas": found.pods}
    variables = [{"name": "MODEL_VERSION", "value": found.version}]
    template = {"spec": {"containers": [{"name": "kserve-container", "env": variables}]}}
    spec = {"replicas": found.pods, "template": template}
    return {"metadata": {"name": name, "generation": 1, "labels": LABELS}, "spec": spec, "status": status}


def _rejection(document: dict[str, Any]) -> StatusError | None:
    """Return the error of the schema or of KServe's webhook, or None if the document is valid."""
    if errors := crd_errors(document):
        return StatusError(422, f"InferenceService is invalid: {errors}")
    webhook = "admission webhook denied the request: "
    if document["spec"]["predictor"]["model"].get("name"):
        return StatusError(403, f"{webhook}the 'name' field is not allowed in standard predictor")
    standard = document["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    if document["spec"].get("canary") and not standard:
        return StatusError(403, f"{webhook}canary is for Standard deployments")
    return None


class Server(ThreadingHTTPServer):
    """The HTTP server of an `ApiServer`."""

    state: ApiServer


class Handler(BaseHTTPRequestHandler):
    """Translates HTTP requests to calls of the server's `ApiServer`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            code, response = 200, self._respond(urlsplit(self.path), body)
        except StatusError as error:
            code, response = error.code, json.dumps(error.body).encode()
        except urllib.error.HTTPError as error:
            code, response = error.code, error.read()
            error.close()
        if not self.server.state.has_kserve and self.path.startswith("/apis/"):
            code, response = 404, b"404 page not found\n"
        self.send_response(code)
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    do_PATCH = do_POST = do_GET

    def _respond(self, url: Any, body: bytes) -> bytes:
        state = self.server.state
        if self.headers["Authorization"].lower() != f"bearer {TOKEN}":
            raise StatusError(401, "Unauthorized")
        state.check_allowed(self.command, url.path)
        if proxied := PROXY.fullmatch(url.path):
            url = state.backend(proxied[1]) + proxied[2]
            state.proxied.append((proxied[1], proxied[2]))
            headers = {"Content-Type": self.headers["Content-Type"] or ""}
            request = urllib.request.Request(url, body or None, headers)
            with urllib.request.urlopen(request, timeout=30) as response:
                return bytes(response.read())
        if self.command == "GET":
            if url.path == OBJECT:
                return json.dumps(state.get()).encode()
            found = state.read(url.path)
            state.reconcile()
            return json.dumps(found).encode()
        assert url.path == OBJECT, url.path
        document = json.loads(body)
        if self.headers["Content-Type"] == "application/merge-patch+json":
            (metadata,) = document.values()
            return json.dumps(state.release(metadata["managedFields"], metadata["resourceVersion"])).encode()
        assert self.headers["Content-Type"] == "application/apply-patch+yaml"
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        service = state.apply(document, query["fieldManager"], force=query["force"] == "true")
        return json.dumps(service).encode()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def api_server(tls: ssl.SSLContext | None = None) -> Iterator[ApiServer]:
    """Serve on a free port."""
    schema = json.loads((FOLDER / "inferenceservice-serving-v1beta1.json").read_text())
    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https" if tls else "http"
        server.state = ApiServer(f"{scheme}://127.0.0.1:{server.server_port}", Applied(schema), schema=schema)
        server.state.versions = {"gateway.networking.k8s.io": ["v1", "v1beta1"], "serving.knative.dev": ["v1"]}
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.state
        server.shutdown()
