"""A server that speaks as much of Kubeflow Pipelines' API (v2beta1) as submitting needs, and keeps what it was sent."""

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

TOKEN = "right"
API = "/apis/v2beta1"


@dataclass
class Kubeflow(ThreadingHTTPServer):
    """The server and its state.

    Attributes:
        answers: of a run's successive requests, the last one for ever: a Run without its id, or a status to answer with.
        multi_user: whether there are namespaces.
        page: whether it answers everything with a page to log in.
        refuses: path -> (status, message) that a POST to it is answered with.
        sent: (method, path, query, body) of every request but health's; an uploaded package is its text.
    """

    answers: list[dict | int] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    multi_user: bool = False
    page: bool = False
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    sent: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    stored: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self, method: str, path: str) -> list[Any]:
        """The bodies of all requests to `path`."""
        return [body for sent_method, sent_path, _, body in self.sent if (sent_method, sent_path) == (method, path)]


# A list's name in the answer, and the name of an item's id, where they are not made from the path's last word.
LISTS = {"recurringruns": ("recurringRuns", "recurring_run_id"), "versions": ("pipeline_versions", "pipeline_version_id")}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def kubeflow(self) -> Kubeflow:
        return cast(Kubeflow, self.server)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep the tests' output clean."""

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
        if self.kubeflow.page:
            self._answer(200, "<html>Log in", kind="text/html")
        elif self.headers.get("Authorization") not in (None, f"Bearer {TOKEN}"):
            self._answer(401, {"error": "Unauthenticated", "message": "Request header error: token is invalid"})
        elif path == "/healthz":
            self._answer(200, {"multi_user": self.kubeflow.multi_user})
        else:
            self.kubeflow.sent.append((method, path, query, body))
            status, message = self.kubeflow.refuses.get(path, (0, "")) if method == "POST" else (0, "")
            if status:
                self._answer(status, {"error": message, "code": 3, "message": message})
            else:
                getattr(self, f"_{method.lower()}")(path, query, body)

    def _get(self, path: str, query: dict[str, str], body: Any) -> None:
        if path.startswith("/runs/"):
            answers = self.kubeflow.answers
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, int):
                self._answer(answer, "upstream connect error", kind="text/plain")
            else:
                self._answer(200, {"run_id": path.split("/")[2], **answer})
            return
        wanted = {each["stringValue"] for each in json.loads(query.get("filter", '{"predicates": []}'))["predicates"]}
        items = [item for item in self.kubeflow.stored.get(path, []) if not wanted or item["display_name"] in wanted]
        self._answer(200, {self._list(path)[0]: items} if items else {})

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
        self._answer(200, item)

    def _delete(self, path: str, query: dict[str, str], body: Any) -> None:
        kind, identifier = path.rsplit("/", 1)
        self.kubeflow.stored[kind] = [item for item in self.kubeflow.stored[kind] if identifier not in item.values()]
        self._answer(200, {})

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

    def _answer(self, status: int, body: Any, *, kind: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving() -> Iterator[Kubeflow]:
    """Run the server on a free port."""
    with Kubeflow() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
