"""An API server that knows InferenceServices of one namespace, over real sockets, with a controller behind it."""

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


class Refusal(Exception):
    """A Status object."""

    def __init__(self, code: int, message: str, **details: Any):
        super().__init__(message)
        self.code = code
        self.body = {"kind": "Status", "status": "Failure", "code": code, "message": message, "details": details}


@dataclass
class ApiServer:
    """What the server holds, and how it behaves.

    Attributes:
        controller: makes the status; it looks after a client has, as a real one is late.
        backends: version -> the address that answers in its name.
        forbidden: verb and resource that the client may not.
        has_kserve: whether the custom resource is defined.
        asked: Service and path of what came through the proxy.
    """

    host: str
    applied: Applied
    controller: Controller = field(default_factory=Controller)
    backends: dict[str, str] = field(default_factory=dict)
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    has_kserve: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    generation: int = 0
    status: dict[str, Any] = field(default_factory=dict)

    def apply(self, document: dict[str, Any], manager: str = "kubectl", *, force: bool = False) -> dict[str, Any]:
        """Apply a document as a manager; what KServe's webhook and the schema refuse is a 403 or 422."""
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
            raise Refusal(409, f"Apply failed with {len(causes)} conflicts", causes=causes) from None
        if refused := _refused(self.applied.document):
            self.applied.document, self.applied.managers = before
            raise refused
        self.generation += before[0] != self.applied.document
        return self.service()

    def service(self) -> dict[str, Any]:
        """Return the InferenceService as a client sees it."""
        service = copy.deepcopy(self.applied.document)
        service["metadata"] = {"annotations": {}} | service["metadata"]
        service["metadata"] |= {"namespace": NAMESPACE, "generation": self.generation}
        return service | ({"status": self.status} if self.status else {})

    def get(self) -> dict[str, Any]:
        if not self.applied.document:
            raise Refusal(404, 'inferenceservices.serving.kserve.io "brain-tumor" not found', name="brain-tumor")
        seen = self.service()
        self.status = self.controller.reconcile(seen)
        return seen

    def backend(self, service: str) -> str:
        """Return the address behind a Service."""
        version = self.controller.running.get(service)
        if version is None:
            raise Refusal(404, f'services "{service}" not found', name=service)
        if version not in self.backends:
            raise Refusal(503, f'no endpoints available for service "{service}"')
        return self.backends[version]

    def check_allowed(self, method: str, path: str) -> None:
        verb = {"GET": "get", "PATCH": "patch", "POST": "create"}[method]
        resource, group = ("services/proxy", "") if PROXY.fullmatch(path) else ("inferenceservices", "serving.kserve.io")
        if (verb, resource) in self.forbidden:
            what = f'cannot {verb} resource "{resource}" in API group "{group}" in the namespace "{NAMESPACE}"'
            raise Refusal(403, f'x is forbidden: User "{USER}" {what}')


def _refused(document: dict[str, Any]) -> Refusal | None:
    """Return what the schema or KServe's webhook says against a document."""
    if errors := crd_errors(document):
        return Refusal(422, f"InferenceService is invalid: {errors}")
    webhook = "admission webhook denied the request: "
    if document["spec"]["predictor"]["model"].get("name"):
        return Refusal(403, f"{webhook}the 'name' field is not allowed in standard predictor")
    standard = document["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    if "canary" in document["spec"] and not standard:
        return Refusal(403, f"{webhook}canary is for Standard deployments")
    return None


@contextmanager
def api_server(tls: ssl.SSLContext | None = None) -> Iterator[ApiServer]:
    """Serve on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._handle()

        do_PATCH = do_POST = do_GET

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                code, answer = 200, self._answer(urlsplit(self.path), body)
            except Refusal as refusal:
                code, answer = refusal.code, json.dumps(refusal.body).encode()
            except urllib.error.HTTPError as error:
                code, answer = error.code, error.read()
                error.close()
            if not server_state.has_kserve and self.path.startswith("/apis/"):
                code, answer = 404, b"404 page not found\n"
            self.send_response(code)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _answer(self, url: Any, body: bytes) -> bytes:
            if self.headers["Authorization"].lower() != f"bearer {TOKEN}":
                raise Refusal(401, "Unauthorized")
            server_state.check_allowed(self.command, url.path)
            if proxied := PROXY.fullmatch(url.path):
                server_state.asked.append((proxied[1], proxied[2]))
                headers = {"Content-Type": self.headers["Content-Type"] or ""}
                request = urllib.request.Request(server_state.backend(proxied[1]) + proxied[2], body or None, headers)
                with urllib.request.urlopen(request, timeout=30) as response:
                    return bytes(response.read())
            assert url.path == OBJECT, url.path
            if self.command == "GET":
                return json.dumps(server_state.get()).encode()
            assert self.headers["Content-Type"] == "application/apply-patch+yaml"
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            service = server_state.apply(json.loads(body), query["fieldManager"], force=query["force"] == "true")
            return json.dumps(service).encode()

        def log_message(self, format: str, *args: object) -> None:
            pass

    schema = json.loads((FOLDER / "inferenceservice-serving-v1beta1.json").read_text())
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https" if tls else "http"
        server_state = ApiServer(f"{scheme}://127.0.0.1:{server.server_port}", Applied(schema))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server_state
        server.shutdown()
