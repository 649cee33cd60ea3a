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
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.components.deploy.kserve import Controller
from tests.components.deploy.server_side_apply import Applied, Conflict, dotted
from tests.crds import FOLDER, crd_errors

NAMESPACE, TOKEN = "clinic", "a-token"
USER = f"system:serviceaccount:{NAMESPACE}:pipeline-runner"
OBJECT = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/brain-tumor"
PROXY = re.compile(rf"/api/v1/namespaces/{NAMESPACE}/services/([\w-]+):80/proxy(/.*)")


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
        forbidden: Verbs and resources that the client has no permission for.
        has_kserve: Whether the custom resource is defined.
        proxied: Service and path of each request through the proxy.
    """

    host: str
    applied: Applied
    controller: Controller = field(default_factory=Controller)
    backends: dict[str, str] = field(default_factory=dict)
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    has_kserve: bool = True
    proxied: list[tuple[str, str]] = field(default_factory=list)
    generation: int = 0
    status: dict[str, Any] = field(default_factory=dict)

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
        self.generation += before[0] != self.applied.document
        return self.service()

    def service(self) -> dict[str, Any]:
        """Return the InferenceService as a client receives it."""
        service = copy.deepcopy(self.applied.document)
        service["metadata"] = {"annotations": {}} | service["metadata"]
        service["metadata"] |= {"namespace": NAMESPACE, "generation": self.generation}
        return service | ({"status": self.status} if self.status else {})

    def get(self) -> dict[str, Any]:
        if not self.applied.document:
            raise StatusError(404, 'inferenceservices.serving.kserve.io "brain-tumor" not found', name="brain-tumor")
        service = self.service()
        self.status = self.controller.reconcile(service)
        return service

    def backend(self, service: str) -> str:
        """Return the URL of the backend of a Service."""
        version = self.controller.running.get(service)
        if version is None:
            raise StatusError(404, f'services "{service}" not found', name=service)
        if version not in self.backends:
            raise StatusError(503, f'no endpoints available for service "{service}"')
        return self.backends[version]

    def check_allowed(self, method: str, path: str) -> None:
        verb = {"GET": "get", "PATCH": "patch", "POST": "create"}[method]
        resource, group = ("services/proxy", "") if PROXY.fullmatch(path) else ("inferenceservices", "serving.kserve.io")
        if (verb, resource) in self.forbidden:
            action = f'cannot {verb} resource "{resource}" in API group "{group}" in the namespace "{NAMESPACE}"'
            raise StatusError(403, f'x is forbidden: User "{USER}" {action}')


def _rejection(document: dict[str, Any]) -> StatusError | None:
    """Return the error of the schema or of KServe's webhook, or None if the document is valid."""
    if errors := crd_errors(document):
        return StatusError(422, f"InferenceService is invalid: {errors}")
    webhook = "admission webhook denied the request: "
    if document["spec"]["predictor"]["model"].get("name"):
        return StatusError(403, f"{webhook}the 'name' field is not allowed in standard predictor")
    standard = document["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    if "canary" in document["spec"] and not standard:
        return StatusError(403, f"{webhook}canary is for Standard deployments")
    return None


class Server(ThreadingHTTPServer):
    """The HTTP server of an `ApiServer`."""

    state: ApiServer


class Handler(BaseHTTPRequestHandler):
    """Translates HTTP requests to calls of the server's `ApiServer`."""

    protocol_version = "HTTP/1.1"
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
            state.proxied.append((proxied[1], proxied[2]))
            headers = {"Content-Type": self.headers["Content-Type"] or ""}
            request = urllib.request.Request(state.backend(proxied[1]) + proxied[2], body or None, headers)
            with urllib.request.urlopen(request, timeout=30) as response:
                return bytes(response.read())
        assert url.path == OBJECT, url.path
        if self.command == "GET":
            return json.dumps(state.get()).encode()
        assert self.headers["Content-Type"] == "application/apply-patch+yaml"
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        service = state.apply(json.loads(body), query["fieldManager"], force=query["force"] == "true")
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
        server.state = ApiServer(f"{scheme}://127.0.0.1:{server.server_port}", Applied(schema))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.state
        server.shutdown()
