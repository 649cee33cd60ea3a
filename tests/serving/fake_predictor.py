"""A predictor that fails on demand: slow, wrong or disconnected. The real one does not."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.serving.clients import b64

ROW = {
    "probability": [0.75],
    "label": "tumor",
    "in_distribution": 1.0,
    "uncertain": False,
    "heatmap": [[0.0, 1.0], [0.5, 0.25]],
}


@dataclass
class FakePredictor:
    """How to respond, and a record of the requests.

    Attributes:
        host: host and port to send requests to.
        status: HTTP status of a prediction.
        body: body of a prediction; None for `rows` as JSON.
        rows: predictions; None for `ROW` for each image.
        undecodable: image that fails every request which holds it, as an image that TensorFlow cannot decode.
        failed_batches: number of requests to fail, as if they shared a batch with such an image.
        delay_seconds: time before the response.
        disconnect: close the connection without a response.
        state: state of the model in the status response.
        received_headers: headers of each prediction request.
        last_images: images of the last prediction request, in base64.
        probes: number of status requests.
    """

    host: str
    status: int = 200
    body: bytes | None = None
    rows: list[object] | None = None
    undecodable: bytes = b""
    failed_batches: int = 0
    delay_seconds: float = 0
    disconnect: bool = False
    state: str = "AVAILABLE"
    received_headers: list[dict[str, str]] = field(default_factory=list)
    last_images: list[str] = field(default_factory=list)
    probes: int = 0

    def reset(self) -> None:
        """Return to the defaults."""
        self.__init__(self.host)  # type: ignore[misc]


@contextmanager
def running_fake_predictor(port: int = 0) -> Iterator[FakePredictor]:
    """Serve a fake predictor on a port, by default a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fake.probes += 1
            self._respond(200, json.dumps({"model_version_status": [{"version": "1", "state": fake.state}]}).encode())

        def do_POST(self) -> None:
            images = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
            fake.last_images = [each["image_bytes"]["b64"] for each in images]
            fake.received_headers.append({name.lower(): value for name, value in self.headers.items()})
            time.sleep(fake.delay_seconds)
            if fake.disconnect:
                self.close_connection = True
                return
            if fake.failed_batches > 0 or {"image_bytes": b64(fake.undecodable)} in images:
                fake.failed_batches -= 1
                self._respond(400, b'{"error": "Unknown image file format."}')
                return
            rows = [ROW] * len(images) if fake.rows is None else fake.rows
            self._respond(fake.status, json.dumps({"predictions": rows}).encode() if fake.body is None else fake.body)

        def _respond(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        fake = FakePredictor(f"127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield fake
        server.shutdown()
