"""A fake service: it records requests and returns a configured response."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

PREDICTION: dict[str, Any] = {
    "label": "tumor",
    "probability": 0.1 + 0.2,
    "threshold": 0.5,
    "confidence": 0.30000000000000004,
    "model": {"name": "brain-tumor", "version": "7"},
    "warnings": ["a"],
    "heatmap": {"shape": [1, 2], "values": [0.0, 1.0], "label": "tumor"},
    "overlay_png": "",
}


@dataclass
class FakeService:
    """The response to return, and the requests received: path, headers in lower case, body."""

    url: str
    status: int = 200
    body: bytes = json.dumps(PREDICTION).encode()
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def serve_fake() -> Iterator[FakeService]:
    """Serve in a thread of this process."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fake.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(fake.status)
            self.send_header("Content-Length", str(len(fake.body)))
            self.end_headers()
            self.wfile.write(fake.body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        fake = FakeService(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()
