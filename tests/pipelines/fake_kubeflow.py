"""A fake Kubeflow Pipelines server: the part of the API (v2beta1) that submitting needs. It records every request."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

TOKEN = "valid"
API = "/apis/v2beta1"


@dataclass
class FakeKubeflow(ThreadingHTTPServer):
    """The server and its state.

    Attributes:
        run_responses: Responses to successive requests for a run, the last one repeated: a Run without its id, or a status code.
        multi_user: Whether there are namespaces.
        login_page: Whether every response is a login page.
        rejections: Path -> (status, message) of the response to a POST.
        requests: (method, path, query, body) of every request except health checks; an uploaded package is its text.
        stored: Path -> created objects.
    """

    run_responses: list[dict | int] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    multi_user: bool = False
    login_page: bool = False
    rejections: dict[str, tuple[int, str]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    stored: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self, method: str, path: str) -> list[Any]:
        """Return the bodies of all requests to `path`."""
        return [body for each_method, each_path, _, body in self.requests if (each_method, each_path) == (method, path)]


# The names of a list and of its items' ids in a response, if they do not follow from the last word of the path.
LISTS = {"recurringruns": ("recurringRuns", "recurring_run_id"), "versions": ("pipeline_versions", "pipeline_version_id")}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def kubeflow(self) -> FakeKubeflow:
        return cast(FakeKubeflow, self.server)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix(API)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        body = self._body()
        if self.kubeflow.login_page:
            self._respond(200, "<html>Log in", kind="text/html")
        elif self.headers.get("Authorization") not in (None, f"Bearer {TOKEN}"):
            self._respond(401, {"error": "Unauthenticated", "message": "Request header error: token is invalid"})
        elif path == "/healthz":
            self._respond(200, {"multi_user": self.kubeflow.multi_user})
        else:
            self.kubeflow.requests.append((method, path, query, body))
            status, message = self.kubeflow.rejections.get(path, (0, "")) if method == "POST" else (0, "")
            if status:
                self._respond(status, {"error": message, "code": 3, "message": message})
            else:
                getattr(self, f"_{method.lower()}")(path, query, body)

    def _get(self, path: str, query: dict[str, str], body: Any) -> None:
        if path.startswith("/runs/"):
            responses = self.kubeflow.run_responses
            response = responses.pop(0) if len(responses) > 1 else responses[0]
            if isinstance(response, int):
                self._respond(response, "upstream connect error", kind="text/plain")
            else:
                self._respond(200, {"run_id": path.split("/")[2], **response})
            return
        names = {each["stringValue"] for each in json.loads(query.get("filter", '{"predicates": []}'))["predicates"]}
        items = [item for item in self.kubeflow.stored.get(path, []) if not names or item["display_name"] in names]
        self._respond(200, {self._list(path)[0]: items} if items else {})

    def _post(self, path: str, query: dict[str, str], body: Any) -> None:
        item = body
        if path == "/pipelines/upload_version":
            path, item = f"/pipelines/{query['pipelineid']}/versions", {"display_name": query["name"]}
        items = self.kubeflow.stored.setdefault(path, [])
        _, identifier = self._list(path)
        item = item | {identifier: f"{identifier.removesuffix('_id')}-{len(items) + 1}"}
        if "/versions" in path:
            item |= {"pipeline_id": query["pipelineid"]}
        items.append(item)
        self._respond(200, item)

    def _delete(self, path: str, query: dict[str, str], body: Any) -> None:
        kind, identifier = path.rsplit("/", 1)
        self.kubeflow.stored[kind] = [item for item in self.kubeflow.stored[kind] if identifier not in item.values()]
        self._respond(200, {})

    def _list(self, path: str) -> tuple[str, str]:
        word = path.rsplit("/", 1)[-1]
        return LISTS.get(word, (word, f"{word.removesuffix('s')}_id"))

    def _body(self) -> Any:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            form: EmailMessage = BytesParser(EmailMessage).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + data)
            (part,) = cast(list[EmailMessage], form.get_payload())
            return cast(bytes, part.get_payload(decode=True)).decode()
        return json.loads(data) if re.search("json", kind) and data else None

    def _respond(self, status: int, body: Any, *, kind: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving() -> Iterator[FakeKubeflow]:
    """Run the server on a free port."""
    with FakeKubeflow() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
