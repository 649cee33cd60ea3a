"""A predictor that does as it is told: slow, wrong, or gone. The real one does not fail on demand."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROW = {"probability": [0.75], "label": "tumor", "in_distribution": 1.0, "heatmap": [[0.0, 1.0], [0.5, 0.25]]}


@dataclass
class FakePredictor:
    """What to answer, and the headers of the requests so far."""

    host: str
    status: int = 200
    body: bytes | None = None
    rows: list[object] = field(default_factory=lambda: [ROW])
    seconds: float = 0
    hang_up: bool = False
    state: str = "AVAILABLE"
    asked: list[dict[str, str]] = field(default_factory=list)
    probed: int = 0


@contextmanager
def scripted() -> Iterator[FakePredictor]:
    """Serve a script on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            script.probed += 1
            self._answer(200, json.dumps({"model_version_status": [{"version": "1", "state": script.state}]}).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            script.asked.append({name.lower(): value for name, value in self.headers.items()})
            time.sleep(script.seconds)
            if script.hang_up:
                self.close_connection = True
                return
            body = json.dumps({"predictions": script.rows}).encode() if script.body is None else script.body
            self._answer(script.status, body)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        script = FakePredictor(f"127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield script
        server.shutdown()
