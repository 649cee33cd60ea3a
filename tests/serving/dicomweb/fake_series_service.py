"""A fake transformer: it answers POST /series as the contract says, for any files, and GET /model."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image
from python_multipart.multipart import FormParser

from brain_tumor.model_card import NOTICE
from tests.serving.dicomweb.fault_proxy import request_body


@dataclass
class FakeSeriesService:
    """What to answer, and what came.

    Attributes:
        url: Root URL.
        version: Version of the model.
        is_ready: Whether GET /readyz is a success.
        rejection: Status and JSON of the response to POST /series in place of a result.
        received: The files of each whole POST /series.
        authorizations: The header Authorization of each request.
    """

    url: str
    version: str = "7"
    is_ready: bool = True
    rejection: tuple[int, dict[str, str]] | None = None
    received: list[list[bytes]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


@contextmanager
def serving_fake_series(port: int = 0) -> Iterator[FakeSeriesService]:
    """Serve in threads of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fake.authorizations.append(self.headers["Authorization"])
            if self.path == "/readyz":
                self._send(200 if fake.is_ready else 503, {})
                return
            self._send(200, {"name": "brain-tumor", "version": int(fake.version), "classes": ["no_tumor", "tumor"]})

        def do_POST(self) -> None:
            fake.authorizations.append(self.headers["Authorization"])
            files, highest = _read_form(self)
            if fake.rejection:
                self._send(*fake.rejection)
                return
            fake.received.append(files)
            self._send(200, series_answer(len(files), highest, fake.version))

        def _send(self, status: int, document: Any) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    fake = FakeSeriesService(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def series_answer(count: int, highest: int, version: str) -> dict[str, Any]:
    """Return the response for a number of files of one slice each, in their order; the last has the highest probability."""
    probabilities = [(number + 1) / (count + 1) for number in range(count)]
    slices: list[dict[str, Any]] = [
        {
            "file": number,
            "frame": None,
            "position_mm": 3.0 * number,
            "instance_number": number + 1,
            "label": "tumor" if probability >= 0.5 else "no_tumor",
            "probability": probability,
            "confidence": max(probability, 1 - probability),
            "in_distribution": 0.9,
            "uncertain": False,
            "warning_codes": [],
        }
        for number, probability in enumerate(probabilities)
    ]
    heatmap = {"shape": [2, 2], "values": [0.0, 0.25, 0.5, 1.0], "label": "tumor"}
    best = [{"slice": count - 1 - rank, "heatmap": heatmap, "overlay_png": _png()} for rank in range(min(highest, count))]
    reaching = sum(probability >= 0.5 for probability in probabilities)
    return {
        "model": {"name": "brain-tumor", "version": version},
        "threshold": 0.5,
        "explanation": "evidence",
        "notice": NOTICE,
        "order": "position",
        "slices": slices,
        "highest": best,
        "summary": {
            "slices": count,
            "reaching_threshold": reaching,
            "longest_run": reaching,
            "longest_run_first": count - reaching if reaching else None,
            "peak": {"slice": count - 1, "probability": probabilities[-1], "position_mm": 3.0 * (count - 1)},
        },
        "warnings": [],
        "warning_codes": [],
    }


def _png() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (90, 20, 20)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _read_form(handler: BaseHTTPRequestHandler) -> tuple[list[bytes], int]:
    """Return the files of a form, and its field `highest`."""
    fields: dict[str, bytes] = {}
    files: list[bytes] = []

    def keep_file(file: Any) -> None:
        file.file_object.seek(0)
        files.append(file.file_object.read())

    def keep_field(each: Any) -> None:
        fields[each.field_name.decode()] = each.value

    parser = FormParser("multipart/form-data", keep_field, keep_file, boundary=handler.headers.get_boundary())
    for chunk in request_body(handler):
        parser.write(chunk)
    parser.finalize()
    return files, int(fields["highest"])
